// The command in its own process, as a user runs it.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { startEmulator } from "./listen.ts";

const MAIN = fileURLToPath(new URL("main.ts", import.meta.url));

interface Run {
  /** All of stdout so far, once it contains `end`. */
  until(end: string): Promise<string>;
  stop(signal: NodeJS.Signals): Promise<{ code: number | null; stderr: string }>;
}

function run(args: readonly string[], env: Record<string, string> = {}): Run {
  const child = spawn(process.execPath, [MAIN, ...args], { env: { ...process.env, ...env } });
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (data: string) => (stdout += data));
  child.stderr.setEncoding("utf8").on("data", (data: string) => (stderr += data));
  const closed = once(child, "close");
  return {
    until: async (end) => {
      while (!stdout.includes(end)) {
        await Promise.race([
          once(child.stdout, "data"),
          closed.then(() => Promise.reject(new Error(`it ended: ${stdout}${stderr}`))),
        ]);
      }
      return stdout;
    },
    stop: async (signal) => {
      child.kill(signal);
      await closed;
      return { code: child.exitCode, stderr };
    },
  };
}

test("prints what one needs, serves it, and ends with 0 on SIGINT even in a delay", async () => {
  const command = run(["--port", "0"]);
  const printed = await command.until("Ctrl-C");
  for (const word of ["demo-token", "42", "demo-agent", "demo-chat"])
    expect(printed).toContain(word);
  expect(printed.match(/^ {2}curl .*http:\/\/127\.0\.0\.1:\d+\//gm)).toHaveLength(3);

  const url = /http:\S+/.exec(printed)?.[0] ?? "";
  const send = async (content: string) =>
    fetch(`${url}/api/chats/demo-chat/completions`, {
      method: "POST",
      headers: { authorization: "Bearer demo-token", "content-type": "application/json" },
      body: JSON.stringify({ workspaceId: 42, content }),
    });
  expect((await send("Hi")).status).toBe(201);
  const waiting = send('!fault {"kind":"drip","everyMs":120000}').then(async (r) => r.text());
  const delayed = send('!fault {"delayMs":120000}');
  const both = Promise.allSettled([waiting, delayed]);
  await expect
    .poll(async () => (await fetch(`${url}/emulator/messages`)).text())
    .toContain("delayMs");
  expect(await command.stop("SIGINT")).toEqual({ code: 0, stderr: "" });
  expect((await both).map(({ status }) => status)).toEqual(["rejected", "rejected"]);
});

test("says in one line that the port is taken, and takes a later one", async () => {
  await using other = await disposable();
  const command = run([], { EMULATOR_PORT: String(other.port) });
  const printed = await command.until("Ctrl-C");
  expect(printed.split("\n")[0]).toBe(`Port ${other.port} is taken, trying ${other.port + 1}.`);
  expect(printed).not.toContain(`${other.url}/`);
  expect(await command.stop("SIGTERM")).toEqual({ code: 0, stderr: "" });
});

async function disposable() {
  const emulator = await startEmulator({ tokens: {} });
  return { ...emulator, [Symbol.asyncDispose]: async () => emulator.close() };
}

test.each([
  ["--port", "65536"],
  ["--port", "x"],
  ["--prot", "1"],
])("%s %s: one line says what is wrong, and nothing starts", async (...args) => {
  const command = run(args);
  await expect(command.until("Ctrl-C")).rejects.toThrow("it ended");
  const { code, stderr } = await command.stop("SIGTERM");
  expect(code).toBe(2);
  expect(stderr.trim().split("\n")).toHaveLength(1);
});
