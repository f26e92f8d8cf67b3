/** The packed package in projects of a user: its command, its types, and the service mounted. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { afterAll, beforeAll, describe, expect, test } from "vitest";

import type { RunningEmulator } from "../../src/emulator/listen.ts";
import { bffEnvironment, startTestEmulator } from "../support/bff-fixture.ts";
import { findFreePort } from "../support/ports.ts";
import { npm, run, startNext, untilReady, write } from "../support/projects.ts";
import { mintToken } from "../support/session-tokens.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
/** Installing with real tools takes a while on a machine that is busy. */
const PATIENCE_MS = 300_000;

let folder: string;
let tarball: string;
let page: string;
let emulator: RunningEmulator;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "package-"));
  await run(ROOT, "npm", "pack", "--ignore-scripts", "--pack-destination", folder);
  tarball = join(folder, (await readdir(folder)).find((name) => name.endsWith(".tgz")) ?? "");
  page = await readFile(join(ROOT, "docs/mount.md"), "utf8");
  emulator = await startTestEmulator();
}, PATIENCE_MS);
afterAll(async () => {
  await emulator.close();
  await rm(folder, { recursive: true, force: true });
});

/** The code of the documentation for one file of a project. */
function documented(path: string): string {
  const code = page.split(`<!-- test: ${path} -->`)[1]?.split("```")[1];
  if (code === undefined) throw new Error(`the documentation has no ${path}`);
  return code.slice(code.indexOf("\n") + 1);
}

test(
  "has what users import, nothing else, and types that resolve",
  { timeout: PATIENCE_MS },
  async () => {
    await run(ROOT, "npx", "publint", "run", "--strict");
    await run(ROOT, "npx", "attw", tarball, "--profile", "esm-only");
    const files = (await run(folder, "tar", "-tzf", tarball)).split("\n");
    expect(files).toContain("package/dist/element.txt");
    expect(
      files.toSorted().filter((file) => /\.map$|\/demo\/|dist\/worker\/|test/.test(file)),
    ).toEqual(["package/dist/testing.d.ts", "package/dist/testing.js"]);
  },
);

test("its command works by npx in an empty folder", { timeout: PATIENCE_MS }, async () => {
  const project = join(folder, "command");
  await write(project, { "package.json": '{"private":true}' });
  await npm(project, tarball);
  expect(await run(project, "npx", "uponai-bff", "--help")).toContain("Usage: uponai-bff COMMAND");
  expect(JSON.parse(await run(project, "npx", "uponai-bff", "keys", "pair"))).toMatchObject({
    publicKey: expect.stringContaining("PUBLIC KEY"),
  });
});

/** Sends a message through a mounted service; returns the answer and how often it was taken. */
async function sendThrough(url: string, text: string): Promise<unknown> {
  const headers = {
    Authorization: `Bearer ${await mintToken({ sub: text })}`,
    "Content-Type": "application/json",
  };
  const started = await fetch(`${url}/chat`, { method: "POST", headers });
  const { chatId } = (await started.json()) as { chatId: string };
  const answer = await fetch(`${url}/chat/${chatId}/send`, {
    method: "POST",
    headers,
    body: JSON.stringify({ content: text }),
  });
  const { messages } = (await answer.json()) as { messages: readonly { content: string }[] };
  return [
    started.status,
    started.headers.get("location") === `/api/chat-bff/chat/${chatId}`,
    answer.status,
    messages.map(({ content }) => content),
    emulator
      .messages()
      .filter(({ content }) => content === text)
      .map(({ arrived, taken }) => [arrived, taken]),
  ];
}

const settings = () => ({
  ...bffEnvironment(emulator.url),
  UPONAI_AGENT_ID: "agent",
  STATE: "memory",
});

describe("the service is mounted, as documented, in", () => {
  let project: string;
  beforeAll(async () => {
    project = join(folder, "mount");
    await write(project, {
      "package.json": '{"private":true,"type":"module"}',
      "express.js": documented("express.js"),
      "fastify.js": documented("fastify.js"),
      "hono.js": documented("hono.js"),
    });
    await npm(project, tarball, "express@5", "fastify@5", "hono@4", "@hono/node-server");
  }, PATIENCE_MS);

  test.each(["express", "fastify", "hono"])("%s, and its own routes stay", async (name) => {
    const port = await findFreePort();
    const child = spawn(process.execPath, [`${name}.js`], {
      cwd: project,
      env: { PATH: process.env["PATH"], ...settings(), PORT: String(port) },
      stdio: ["ignore", "ignore", "inherit"],
    });
    try {
      const url = `http://127.0.0.1:${port}`;
      await untilReady(`${url}/chat`);
      expect(await (await fetch(`${url}/chat`)).text()).toBe("our own page");
      const text = `through ${name}`;
      expect(await sendThrough(`${url}/api/chat-bff`, text)).toEqual([
        201,
        true,
        201,
        [`You said: ${text}`],
        [[1, 1]],
      ]);
      const health = await fetch(`${url}/api/chat-bff/healthz`);
      expect([health.status, await health.text()]).toEqual([200, '{"status":"ok"}']);
      expect((await fetch(`${url}/api/chat-bff/nothing`)).status).toBe(404);
      const script = await (await fetch(`${url}/api/chat-bff/chat/element.js`)).text();
      expect(script).toContain('"/api/chat-bff"');
      const refused = await fetch(`${url}/api/chat-bff/session`);
      expect(await refused.json()).toMatchObject({ code: "session_missing" });
    } finally {
      child.kill("SIGTERM");
      expect(await once(child, "exit")).toEqual([0, null]);
    }
  });
});

test("a route handler of Next.js answers with it", { timeout: PATIENCE_MS }, async () => {
  const files = {
    "next.config.mjs": documented("next.config.mjs"),
    "app/api/chat-bff/[...path]/route.ts": documented("app/api/chat-bff/[...path]/route.ts"),
    "app/page.tsx": "export default function Page() { return <p>our own page</p>; }",
  };
  const next = await startNext(join(folder, "next"), tarball, files, settings());
  try {
    expect(await sendThrough(`${next.url}/api/chat-bff`, "through Next.js")).toEqual([
      201,
      true,
      201,
      ["You said: through Next.js"],
      [[1, 1]],
    ]);
  } finally {
    await next.stop();
  }
});

test("a test of a frontend gets a whole service", { timeout: PATIENCE_MS }, async () => {
  const project = join(folder, "testing");
  await write(project, {
    "package.json": '{"private":true,"type":"module"}',
    "check.js": documented("check.js"),
  });
  await npm(project, tarball);
  expect(await run(project, process.execPath, "check.js")).toBe("201 You said: hello\n");
});
