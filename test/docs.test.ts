/**
 * Checks the documentation: generated parts are current, and the files and codes it names exist.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";

import { describe, expect, test } from "vitest";

import { renderEnvExample, renderVariableTable } from "../src/config/describe-variables.ts";
import { START_MEMBER_BYTES_MAX } from "../src/chat/start-body.ts";
import { describeExpectation, variableNames } from "../src/config/variables.ts";
import { JSON_DEPTH_MAX } from "../src/json-depth.ts";
import { problemCodes, problemStatus } from "../src/problem.ts";

const root = new URL("../", import.meta.url);
const pages = [
  "README.md",
  "docs/sending.md",
  "docs/frontend.md",
  "docs/mount.md",
  "docs/behind-a-proxy.md",
  "docs/security.md",
  "docs/request-flow.md",
  "docs/failure-modes.md",
  "docs/sessions.md",
  "docs/redis.md",
  "docs/state-keys.md",
  "docs/performance.md",
  "docs/workers.md",
  "docs/operations.md",
];

function read(path: string): string {
  return readFileSync(new URL(path, root), "utf8");
}

/** The anchors that GitHub makes of a page's headings. */
function listAnchors(text: string): string[] {
  return [...text.matchAll(/^#+ (.+)$/gm)].map(([, heading = ""]) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\s_-]/gu, "")
      .replaceAll(" ", "-"),
  );
}

/** Compares a file with what it should be; writes it where `UPDATE_DOCS` asks for that. */
function expectFile(path: string, text: string): void {
  if (process.env["UPDATE_DOCS"] === "1") writeFileSync(new URL(path, root), text);
  expect(read(path)).toBe(text);
}

test(".env.example is what the variables say", () => {
  expectFile(".env.example", renderEnvExample());
});

test("the README's table is what the variables say", () => {
  const between = /(<!-- variables -->\n)[\s\S]*(<!-- \/variables -->)/;
  const current = read("README.md");
  expect(current).toMatch(between);
  const replacement = `$1\n${renderVariableTable().replaceAll("$", "$$$$")}\n\n$2`;
  expectFile("README.md", current.replace(between, replacement));
});

test("what a message costs stands in one place: the last full run of the bench", () => {
  expect(read("docs/performance.md")).toMatch(/^\| \*\*uponai-bff\*\* +\| +\*\*\d+\*\*/m);
  for (const page of pages.filter((name) => name !== "docs/performance.md")) {
    expect(read(page), page).not.toMatch(/\d+ µs (?:a|per) (?:message|request)/);
  }
});

test("no page promises more than at most once, which Redis can lose", () => {
  for (const page of pages) {
    expect(read(page), page).not.toMatch(/(?:sent|sending|taken) exactly once|holds always/i);
  }
});

test("every problem code has one entry in failure-modes, with its status", () => {
  const rows = [...read("docs/failure-modes.md").matchAll(/^\| `([a-z_]+)` +\| (\d{3}) +\|/gm)];
  const documented = rows.map(([, code, status]) => `${code} ${status}`);
  expect(documented.toSorted()).toEqual(
    problemCodes.map((code) => `${code} ${problemStatus(code)}`).toSorted(),
  );
});

test("request-flow states the bounds of metadata and variables", () => {
  const bytes = START_MEMBER_BYTES_MAX.toLocaleString("en");
  const text = read("docs/request-flow.md");
  expect(text).toContain(`of at most ${bytes} bytes each`);
  expect(text).toContain(`at most ${JSON_DEPTH_MAX} levels deep`);
});

test("the README states what every variable may hold", () => {
  const rows = read("README.md").split("\n");
  for (const name of variableNames) {
    const text = describeExpectation(name)?.text ?? "";
    expect(text).not.toBe("");
    expect(rows.find((row) => row.startsWith(`| \`${name}\` |`))).toContain(`| ${text} |`);
  }
});

describe.each(pages)("%s", (page) => {
  const text = read(page);

  test("links to and names only files that exist", () => {
    const links = [...text.matchAll(/\]\((?!https?:|#)([^)#]+)/g)].map(([, path]) => path ?? "");
    const base = new URL(page, root);
    for (const link of links) expect(existsSync(new URL(link, base)), link).toBe(true);
    const named = [...text.matchAll(/`((?:src|docs|test|bench)\/[\w./-]*)`/g)];
    for (const [, path] of named) expect(existsSync(new URL(path ?? "", root)), path).toBe(true);
  });

  test("links only to headings that exist", () => {
    for (const [, path = "", anchor = ""] of text.matchAll(/\]\((?!https?:)([^)#]*)#([^)]+)\)/g)) {
      const target = path === "" ? text : readFileSync(new URL(path, new URL(page, root)), "utf8");
      expect(listAnchors(target), `${path}#${anchor}`).toContain(anchor);
    }
  });

  test("names only npm scripts that exist", () => {
    const { scripts } = JSON.parse(read("package.json")) as { scripts: Record<string, string> };
    for (const [, script] of text.matchAll(/npm run ([\w:]+)/g)) {
      expect(Object.keys(scripts)).toContain(script);
    }
  });

  test("names only variables that exist", () => {
    const prefixes =
      /`((?:ADMIN|SESSION|COOKIE|ALLOWED|LIMIT|UPONAI|REDIS|UPSTREAM|MAX|TRUST|SHUTDOWN|EXPOSE|OTEL|LOG)_[A-Z_]*[A-Z])`/g;
    for (const [, name] of text.matchAll(prefixes)) expect(variableNames).toContain(name);
  });
});
