/** The API reference is generated from the declarations of the built package. */
import { readFileSync } from "node:fs";

import { expect, test } from "vitest";

const SECTIONS = [
  ["Chat store: `createChat`", ["chat", "types"]],
  ["Errors", ["chat-error"]],
  ["Client: `createClient`", ["client"]],
  ["Answers of the service", ["api"]],
  ["React: `uponai-bff-client/react`", ["react"]],
  ["AI SDK: `uponai-bff-client/ai-sdk`", ["ai-sdk"]],
  ["Element: `uponai-bff-client/element/class`", ["element-class"]],
  ["Texts: `uponai-bff-client/labels/en`, `…/labels/de`", ["labels/labels"]],
] as const;

const HEAD = `# API reference of the browser package

You want the exact types: here they are, generated from the package. [The frontend](frontend.md) shows how to use them.
`;

/** The declarations of a module without imports and private members. */
function readDeclarations(name: string): string {
  const text = readFileSync(
    new URL(`../../src/browser/dist/${name}.d.ts`, import.meta.url),
    "utf8",
  );
  return text
    .replaceAll(/^import .*\n/gm, "")
    .replaceAll(/^export \{.*\};?\n/gm, "")
    .replaceAll(/^\s*(?:private .*|#private;)\n/gm, "")
    .replaceAll(/^\/\*\* The store of one chat\. \*\/\n|^\/\*\* Types of the client.*\n/gm, "")
    .replaceAll("export declare ", "declare ")
    .trim();
}

// After a change: npx vitest run --config test/vitest.config.ts test/browser/reference.test.ts -u
test("the reference in docs/ is that of the package", async () => {
  const sections = SECTIONS.map(([title, modules]) => {
    const code = modules.map(readDeclarations).join("\n");
    return `\n## ${title}\n\n<!-- prettier-ignore -->\n\`\`\`ts\n${code}\n\`\`\`\n`;
  });
  await expect(HEAD + sections.join("")).toMatchFileSnapshot("../../docs/frontend-api.md");
});
