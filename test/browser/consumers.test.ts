/** Web projects that install the packed package and follow docs/frontend.md word for word. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";

import { UponaiChatElement } from "../../src/browser/element-class.ts";
import type { RunningEmulator } from "../../src/emulator/listen.ts";
import { startTestBff, startTestEmulator } from "../support/bff-fixture.ts";
import type { BffProcess } from "../support/bff-process.ts";
import { startBrowser } from "../support/browser.ts";
import { findFreePort } from "../support/ports.ts";
import { npm, run, startNext, stop, untilReady, write } from "../support/projects.ts";
import { mintToken } from "../support/session-tokens.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const PACKAGE = join(ROOT, "src/browser");
/** Installing and building with real tools takes a while on a machine that is busy. */
const PATIENCE_MS = 300_000;

let folder: string;
let tarball: string;
let docs: string;
let emulator: RunningEmulator;
let bff: BffProcess;
let browser: Browser;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "consumers-"));
  await run(ROOT, "npm", "pack", "--workspace", "src/browser", "--pack-destination", folder);
  tarball = join(folder, (await readdir(folder)).find((name) => name.endsWith(".tgz")) ?? "");
  docs = await readFile(join(ROOT, "docs/frontend.md"), "utf8");
  emulator = await startTestEmulator();
  bff = await startTestBff(emulator.url, {
    UPONAI_AGENT_ID: "agent",
    COOKIE_KEYS: Buffer.alloc(32, 1).toString("base64url"),
    COOKIE_INSECURE: "true",
  });
  browser = await startBrowser();
});
afterAll(async () => {
  await browser.close();
  await bff.stop();
  await emulator.close();
  await rm(folder, { recursive: true, force: true });
});

/** The code of the documentation for one file of a project. */
function documented(path: string): string {
  const code = docs.split(`<!-- test: ${path} -->`)[1]?.split("```")[1];
  if (code === undefined) throw new Error(`the documentation has no ${path}`);
  return code.slice(code.indexOf("\n") + 1).replaceAll("http://127.0.0.1:8787", bff.url);
}

/**
 * Opens a page of a project, and sends a message by its own input. Returns how often the message
 * arrived at UponAI and was taken, once its answer is shown.
 *
 * @param prepare called on the page before; by default it opens a session with a cookie
 */
async function chatAt(url: string, selector: string, prepare = openSession): Promise<unknown> {
  const text = `at ${url}`;
  const page = await browser.newPage();
  await page.goto(url);
  await prepare(page);
  await page.locator(selector).fill(text);
  await page.locator(selector).press("Enter");
  await page.getByText(`You said: ${text}`, { exact: true }).waitFor();
  await page.close();
  return emulator
    .messages()
    .filter(({ content }) => content === text)
    .map(({ arrived, taken }) => [arrived, taken]);
}

async function openSession(page: Page): Promise<void> {
  const token = await mintToken({ sub: `user of ${page.url()}` });
  await page.evaluate(async (bearer) => {
    const headers = { Authorization: `Bearer ${bearer}` };
    const { status } = await fetch("/session", { method: "POST", headers });
    if (status !== 201) throw new Error(`no cookie: ${status}`);
  }, token);
}

const openNothing = () => Promise.resolve();

/** Starts the development server of Vite in a project. */
async function startVite(project: string): Promise<{ url: string; child: ChildProcess }> {
  const port = await findFreePort();
  const child = spawn(
    "node_modules/.bin/vite",
    ["--port", String(port), "--strictPort", "--host", "127.0.0.1"],
    { cwd: project, stdio: "ignore" },
  );
  const url = `http://127.0.0.1:${port}/`;
  await untilReady(url);
  return { url, child };
}

test(
  "the package is as npm, TypeScript and bundlers want it",
  { timeout: PATIENCE_MS },
  async () => {
    await run(PACKAGE, "npx", "publint", "run", "--strict");
    await run(ROOT, "npx", "attw", tarball, "--profile", "esm-only");
    const { dependencies, exports } = JSON.parse(
      await readFile(join(PACKAGE, "package.json"), "utf8"),
    ) as { dependencies?: object; exports: object };
    expect(dependencies).toBeUndefined();
    expect(Object.keys(exports)).toEqual(
      expect.arrayContaining([
        ".",
        "./element",
        "./element/class",
        "./react",
        "./ai-sdk",
        "./labels/*",
      ]),
    );
  },
);

test("the manifest of the element names what the class has", async () => {
  const { modules } = JSON.parse(await readFile(join(PACKAGE, "custom-elements.json"), "utf8")) as {
    modules: readonly {
      declarations: readonly {
        attributes: readonly { name: string }[];
        members: readonly { name: string }[];
      }[];
    }[];
  };
  const [declaration] = modules[0]?.declarations ?? [];
  const attributes = declaration?.attributes.map(({ name }) => name) ?? [];
  // `lang` is of every element; `send-key` is read when a key is pressed.
  expect(new Set([...attributes, "lang"])).toEqual(
    new Set([...UponaiChatElement.observedAttributes, "send-key"]),
  );
  for (const { name } of declaration?.members ?? []) {
    expect(name in UponaiChatElement.prototype, name).toBe(true);
  }
});

/** Settings of TypeScript for a folder without a bundler. */
function tsconfig(more: object): string {
  return JSON.stringify({
    compilerOptions: {
      module: "nodenext",
      target: "es2023",
      lib: ["es2023", "dom", "dom.iterable"],
      types: [],
      strict: true,
      noEmit: true,
      ...more,
    },
  });
}

test(
  "a project of `npm create vite` chats, also with assistant-ui and deep-chat",
  { timeout: PATIENCE_MS },
  async () => {
    const template = ["--template", "react-ts", "--no-interactive"];
    await run(folder, "npm", "create", "--yes", "vite@latest", "vite", "--", ...template);
    const project = join(folder, "vite");
    await npm(project, tarball, "@assistant-ui/react", "deep-chat", "ai");
    await write(project, {
      "src/chat-runtime.tsx": documented("src/chat-runtime.tsx"),
      "src/deep-chat.ts": documented("src/deep-chat.ts"),
      "src/assistant.tsx": `
      import { ComposerPrimitive, MessagePrimitive, ThreadPrimitive } from "@assistant-ui/react";
      import { createRoot } from "react-dom/client";
      import { ChatRuntime } from "./chat-runtime";
      const Message = () => <MessagePrimitive.Root><MessagePrimitive.Parts /></MessagePrimitive.Root>;
      createRoot(document.body).render(
        <ChatRuntime>
          <ThreadPrimitive.Root>
            <ThreadPrimitive.Messages components={{ Message }} />
            <ComposerPrimitive.Root><ComposerPrimitive.Input /></ComposerPrimitive.Root>
          </ThreadPrimitive.Root>
        </ChatRuntime>,
      );
    `,
      "assistant.html": '<!doctype html><script type="module" src="/src/assistant.tsx"></script>',
      "deep-chat.html":
        '<!doctype html><deep-chat></deep-chat><script type="module" src="/src/deep-chat.ts"></script>',
      "src/App.tsx": documented("src/App.tsx"),
      "src/support.tsx": documented("src/support.tsx"),
      "vite.config.ts": documented("vite.config.ts"),
      // Types of all entries, by the rules of Node as well.
      "check/check.ts": `
      import { type Chat, ChatError, createChat, createClient } from "uponai-bff-client";
      import { UponaiChatElement } from "uponai-bff-client/element/class";
      import "uponai-bff-client/element";
      import { de } from "uponai-bff-client/labels/de";
      import { useChat } from "uponai-bff-client/react";
      const chat: Chat = createChat({ client: createClient() });
      const element = document.createElement("uponai-chat");
      element.chat = chat;
      element.labels = { send: de.send };
      element.addEventListener("uponai-message", ({ detail }) => detail.message.parts);
      export const all = [element instanceof UponaiChatElement, ChatError, useChat];
      // @ts-expect-error -- a message has a text
      void chat.sendMessage({});
    `,
      "check/tsconfig.json": tsconfig({ exactOptionalPropertyTypes: true }),
      // The types of `ai` itself do not bear the strictest rules.
      "check-ai/check.ts": `
      import type { ChatTransport, UIMessage } from "ai";
      import { UponaiChatTransport } from "uponai-bff-client/ai-sdk";
      export const transport: ChatTransport<UIMessage> = new UponaiChatTransport({ chatId: "chat" });
    `,
      "check-ai/tsconfig.json": tsconfig({ skipLibCheck: true }),
    });
    await run(project, "npm", "run", "build");
    await run(project, "npx", "tsc", "--project", "check");
    await run(project, "npx", "tsc", "--project", "check-ai");
    const { url, child } = await startVite(project);
    expect(await chatAt(url, "input")).toEqual([[1, 1]]);
    expect(await chatAt(`${url}assistant.html`, "textarea[name=input]")).toEqual([[1, 1]]);
    expect(await chatAt(`${url}deep-chat.html`, "#text-input")).toEqual([[1, 1]]);
    await stop(child);
  },
);

const pageOf = (framework: string) =>
  `<!doctype html><main></main><script type="module" src="/src/${framework}.ts"></script>`;

test(
  "components of Vue and Svelte hand the token to the element, and chat",
  { timeout: PATIENCE_MS },
  async () => {
    const project = join(folder, "components");
    const token = await mintToken({ sub: "user of components" });
    await write(project, {
      "package.json": JSON.stringify({ name: "components", private: true, type: "module" }),
      "src/Support.vue": documented("src/Support.vue"),
      "src/Support.svelte": documented("src/Support.svelte"),
      "src/token.ts": `export const getToken = async () => ${JSON.stringify(token)};`,
      "src/vue.ts": `
      import { createApp } from "vue";
      import Support from "./Support.vue";
      createApp(Support).mount("main");
    `,
      "src/svelte.ts": `
      import { mount } from "svelte";
      import Support from "./Support.svelte";
      mount(Support, { target: document.querySelector("main") });
    `,
      "index.html": "<!doctype html><title>Components</title>",
      "vue.html": pageOf("vue"),
      "svelte.html": pageOf("svelte"),
      "vite.config.js": `
      import { svelte } from "@sveltejs/vite-plugin-svelte";
      import vue from "@vitejs/plugin-vue";
      export default {
        plugins: [
          svelte(),
          vue({ template: { compilerOptions: { isCustomElement: (tag) => tag === "uponai-chat" } } }),
        ],
        server: { proxy: { "/chat": "${bff.url}", "/session": "${bff.url}" } },
      };
    `,
    });
    await npm(
      project,
      "vite",
      "svelte",
      "@sveltejs/vite-plugin-svelte",
      "vue",
      "@vitejs/plugin-vue",
      tarball,
    );
    const { url, child } = await startVite(project);
    for (const framework of ["vue", "svelte"]) {
      expect(await chatAt(`${url}${framework}.html`, "textarea", openNothing)).toEqual([[1, 1]]);
    }
    await stop(child);
  },
);

test(
  "a project of Next.js renders the element on its server, and chats",
  { timeout: PATIENCE_MS },
  async () => {
    const next = await startNext(join(folder, "next"), tarball, {
      "app/support.tsx": documented("app/support.tsx"),
      "next.config.mjs": documented("next.config.mjs"),
      "app/page.tsx": `import { Support } from "./support";
    export default function Page() { return <Support />; }`,
    });
    const url = `${next.url}/`;
    expect(await (await fetch(url)).text()).toContain('<uponai-chat heading="Ask us">');
    expect(await chatAt(url, "textarea")).toEqual([[1, 1]]);
    await next.stop();
  },
);
