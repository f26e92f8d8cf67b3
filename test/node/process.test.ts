/** The process: configuration errors, listening, stopping, exit codes and output. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";

import type { RunningEmulator } from "../../src/emulator/listen.ts";
import { describeOldNode } from "../../src/platform/node/node-version.ts";
import { catchStopSignals } from "../../src/platform/node/stop-signals.ts";
import {
  bffEnvironment,
  readCode,
  sendMessage,
  startTestBff,
  startTestEmulator,
} from "../support/bff-fixture.ts";
import { type BffProcess, ENTRY, spawnBff } from "../support/bff-process.ts";
import { CLI } from "../support/cli.ts";
import { openRaw } from "../support/raw-http.ts";
import { mintToken } from "../support/session-tokens.ts";

/** Messages in flight, and idle connections, when the signal arrives. */
const SLOW = 200;
const IDLE = 50;
const UNLIMITED = { LIMIT_SESSION: "off", LIMIT_IP: "off", LIMIT_WORKSPACE: "off" };

let emulator: RunningEmulator;

beforeAll(async () => {
  emulator = await startTestEmulator();
});
beforeEach(() => emulator.reset());
afterAll(() => emulator.close());

/**
 * Repeats a signal until the process ends, and returns its exit code. Two signals within a few
 * milliseconds count as one: npm repeats the signal of the terminal.
 */
async function repeatSignal(bff: BffProcess, signal: NodeJS.Signals): Promise<number | null> {
  const repeating = setInterval(() => bff.signal(signal), 50);
  const code = await bff.exited();
  clearInterval(repeating);
  return code;
}

describe("configuration", () => {
  test("all faults are reported at once, one line each, with exit code 78 and without secrets", async () => {
    const child = spawnBff({
      SESSION_SECRET: "short-canary",
      SESSION_JWKS_URL: "http://example.test/keys",
      SESSION_ISSUER: "",
      WORKSPACES: '{"acme":{"id":0,"apiToken":"workspace-canary"}}',
      LIMIT_SESSION: "0/1m",
      NODE_ENV: "production",
    });
    expect(await child.exited()).toBe(78);
    const variables = child.log().map(({ variable }) => variable);
    expect(new Set(variables)).toEqual(
      new Set([
        "SESSION_SECRET",
        "SESSION_JWKS_URL",
        "SESSION_ISSUER",
        "SESSION_AUDIENCE",
        "WORKSPACES",
        "LIMIT_SESSION",
        "REDIS_URL",
      ]),
    );
    expect(child.log().every(({ msg }) => String(msg).includes("Example: "))).toBe(true);
    expect(child.lines.join("\n")).not.toContain("canary");
  });

  test("a public key that is none stops the start", async () => {
    const { SESSION_SECRET: _none, ...rest } = bffEnvironment(emulator.url);
    const child = spawnBff({ ...rest, SESSION_PUBLIC_KEY: "-----BEGIN PUBLIC KEY-----\nAAAA" });
    expect(await child.exited()).toBe(78);
    expect(child.log().at(-1)).toMatchObject({ level: "fatal", variable: "SESSION_PUBLIC_KEY" });
  });

  test("the port is named at every level of the log", async () => {
    const bff = await startTestBff(emulator.url, { LOG_LEVEL: "fatal" });
    await bff.stop();
    expect(bff.log().filter(({ msg }) => msg === "listening")).toHaveLength(1);
    expect(bff.log().some(({ msg }) => msg === "stopping")).toBe(false);
  });

  test("a misspelt variable and in-process state are warned of", async () => {
    const bff = await startTestBff(emulator.url, { LIMIT_SESION: "1/1m" });
    await bff.stop();
    const warnings = bff.log().filter(({ level }) => level === "warn");
    expect(warnings.map(({ msg }) => msg).join()).toContain("did you mean LIMIT_SESSION?");
    expect(warnings.map(({ msg }) => msg).join()).toContain("State is kept in this process");
  });

  test("a port that is taken ends the process with a line that says so", async () => {
    const holder = createServer();
    await new Promise<void>((resolve) => {
      holder.listen(0, "127.0.0.1", resolve);
    });
    const address = holder.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    const child = spawnBff(bffEnvironment(emulator.url, { HOST: "127.0.0.1", PORT: String(port) }));
    expect(await child.exited()).toBe(1);
    expect(child.log().at(-1)).toMatchObject({ level: "fatal", port, code: "EADDRINUSE" });
    holder.close();
  });
});

describe("stray characters", () => {
  test("around secrets, the issuer and NODE_ENV are no part of them", async () => {
    const given = bffEnvironment(emulator.url);
    const bff = await startTestBff(emulator.url, {
      SESSION_SECRET: `${given["SESSION_SECRET"]}\n`,
      SESSION_ISSUER: `"${given["SESSION_ISSUER"]}"`,
      SESSION_AUDIENCE: `${given["SESSION_AUDIENCE"]}\r\n`,
      UPONAI_API_TOKEN: `${given["UPONAI_API_TOKEN"]}\n`,
      UPONAI_WORKSPACE_ID: "'42'",
    });
    expect((await sendMessage(bff.url, "hello")).status).toBe(201);
    await bff.stop();
    const warnings = bff.log().filter(({ level }) => level === "warn");
    expect(warnings.map(({ msg }) => msg).join("\n")).toMatch(
      /SESSION_SECRET .*removed[\s\S]*In quotes.*UPONAI_WORKSPACE_ID, SESSION_ISSUER/,
    );
  });

  test("around NODE_ENV do not switch the checks for production off", async () => {
    const child = spawnBff(bffEnvironment(emulator.url, { NODE_ENV: '"production"' }));
    expect(await child.exited()).toBe(78);
    expect(child.log()).toMatchObject([{ level: "fatal", variable: "REDIS_URL" }]);
  });

  test("names inside WORKSPACES are not printed, positions are", async () => {
    const child = spawnBff(
      bffEnvironment(emulator.url, {
        UPONAI_WORKSPACE_ID: "",
        WORKSPACES: '{"acme":1,"claim-canary":{"id":2,"member-canary":3}}',
      }),
    );
    expect(await child.exited()).toBe(78);
    expect(child.log()).toMatchObject([
      { variable: "WORKSPACES", msg: expect.stringContaining("entry 2") },
    ]);
    expect(child.lines.join("\n")).not.toContain("canary");
  });
});

describe("listening", () => {
  test.each(["[::]", "::", "[::1]"])("HOST=%s works, for both listeners", async (host) => {
    const bff = await startTestBff(emulator.url, {
      HOST: host,
      ADMIN_HOST: host,
      ADMIN_PORT: "0",
    });
    try {
      const { port, adminPort } = await bff.waitForLine(({ msg }) => msg === "listening");
      for (const each of [port, adminPort]) {
        expect((await fetch(`http://[::1]:${String(each)}/healthz`)).status).toBe(200);
      }
    } finally {
      await bff.stop();
    }
  });
});

describe("a Node that is too old", () => {
  /** Loaded before the entry file: makes Node report another version. */
  const folder = mkdtempSync(join(tmpdir(), "uponai-bff-node-"));
  afterAll(() => rmSync(folder, { recursive: true }));

  async function runAs(version: string, entry: string, args: readonly string[] = []) {
    const preload = join(folder, `${version}.cjs`);
    writeFileSync(
      preload,
      `Object.defineProperty(process, "versions", { value: { ...process.versions, node: "${version}" } });\n`,
    );
    const child = spawn(process.execPath, ["--require", preload, entry, ...args], {
      env: { PATH: process.env["PATH"] },
      stdio: ["ignore", "ignore", "pipe"],
    });
    let stderr = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
    const [code] = (await once(child, "close")) as [number | null];
    return { code, lines: stderr.trimEnd().split("\n") };
  }

  test("is reported in one line of the log, with exit code 78", async () => {
    const { code, lines } = await runAs("22.18.0", ENTRY);
    expect(code).toBe(78);
    expect(lines).toHaveLength(1);
    expect(JSON.parse(lines[0] ?? "")).toMatchObject({
      level: "fatal",
      msg: expect.stringMatching(/needs Node 22\.19 or newer, and this is Node 22\.18\.0/),
    });
  });

  test("is reported by the command as well, in plain text", async () => {
    const { code, lines } = await runAs("20.20.2", CLI, ["--help"]);
    expect(code).toBe(78);
    expect(lines).toEqual([expect.stringMatching(/^uponai-bff needs Node 22\.19 or newer/)]);
  });

  test.each([ENTRY, CLI])(
    "is reported before %s loads code that the old version cannot parse",
    (file) => {
      const source = readFileSync(file, "utf8");
      expect(source).not.toMatch(/^\s*(?:import|export)\b(?!\s*\{\s*\})/m);
      // Old Node versions cannot parse this syntax and would print a syntax error instead of the
      // line.
      expect(source).not.toMatch(/\?\.|\?\?|^await|#[a-z]|\bstatic\b/m);
    },
  );

  test("is one that package.json does not allow", () => {
    const { engines } = JSON.parse(
      readFileSync(new URL("../../package.json", import.meta.url), "utf8"),
    ) as { engines: { node: string } };
    const [, major = "", minor = ""] = /^>=(\d+)\.(\d+)$/.exec(engines.node) ?? [];
    const [least, next] = [Number(major), Number(minor)];
    expect(describeOldNode(`${least}.${next}.0`)).toBeUndefined();
    expect(describeOldNode(`${least}.${next + 1}.5`)).toBeUndefined();
    expect(describeOldNode(`${least + 1}.0.0`)).toBeUndefined();
    expect(describeOldNode(process.versions.node)).toBeUndefined();
    expect(describeOldNode(`${least}.${next - 1}.9`)).toContain(`${least}.${next}`);
    expect(describeOldNode(`${least - 1}.99.0`)).toContain(`${least - 1}.99.0`);
    expect(describeOldNode("8.17.0")).toContain("8.17.0");
  });
});

describe("a signal during the start", () => {
  test.each(["SIGTERM", "SIGINT"] as const)(
    "%s stops it while it waits for a Redis that does not answer, with exit code 0",
    async (signal) => {
      const sockets = new Set<Socket>();
      const silent = createServer((socket) => sockets.add(socket));
      await new Promise<void>((resolve) => {
        silent.listen(0, "127.0.0.1", resolve);
      });
      const { port } = silent.address() as AddressInfo;
      const child = spawnBff(
        bffEnvironment(emulator.url, { PORT: "0", REDIS_URL: `redis://127.0.0.1:${port}` }),
      );
      await once(silent, "connection");
      child.signal(signal);
      expect(await child.exited()).toBe(0);
      expect(child.log().at(-1)).toMatchObject({ msg: "stopped during the start", signal });
      for (const socket of sockets) socket.destroy();
      silent.close();
    },
  );

  test("that comes before its handler is installed is kept", () => {
    const before = process.listeners("SIGTERM");
    const signals = catchStopSignals();
    const own = process.listeners("SIGTERM").find((listener) => !before.includes(listener));
    const ownInt = process.listeners("SIGINT").at(-1);
    try {
      process.emit("SIGTERM");
      const seen: string[] = [];
      signals.handle((signal) => seen.push(signal));
      expect(seen).toEqual(["SIGTERM"]);
      process.emit("SIGINT");
      signals.handle((signal) => seen.push(`second ${signal}`));
      process.emit("SIGTERM");
      expect(seen).toEqual(["SIGTERM", "SIGINT", "second SIGTERM"]);
    } finally {
      if (own !== undefined) process.off("SIGTERM", own);
      if (ownInt !== undefined) process.off("SIGINT", ownInt);
    }
  });
});

describe("SHUTDOWN_DELAY", () => {
  test("keeps serving, while /readyz answers 503 on both listeners, then drains as ever", async () => {
    const bff = await startTestBff(emulator.url, { ADMIN_PORT: "0", SHUTDOWN_DELAY: "5s" });
    const { adminPort } = await bff.waitForLine(({ msg }) => msg === "listening");
    const adminUrl = `http://127.0.0.1:${String(adminPort)}`;
    bff.signal("SIGTERM");
    await bff.waitForLine(({ msg }) => msg === "stopping");
    for (const url of [bff.url, adminUrl]) {
      const ready = await fetch(`${url}/readyz`);
      expect(ready.status).toBe(503);
      expect(await readCode(ready)).toBe("shutting_down");
      expect((await fetch(`${url}/healthz`)).status).toBe(200);
    }
    const during = await sendMessage(bff.url, "during the delay");
    expect(during.status).toBe(201);
    expect(during.headers.get("connection")).not.toBe("close");

    // In progress when the delay ends: the drain waits for it and refuses later requests.
    emulator.addFault({ delayMs: 9_000 });
    const slow = sendMessage(bff.url, "slow");
    await bff.waitForLine(({ msg }) => msg === "draining");
    const late = await sendMessage(bff.url, "late");
    expect(await readCode(late)).toBe("shutting_down");
    expect((await slow).status).toBe(201);
    expect(await bff.exited()).toBe(0);
    expect(bff.log().at(-1)).toMatchObject({ msg: "stopped" });
  });

  test("is cut short by a second signal", async () => {
    const bff = await startTestBff(emulator.url, { SHUTDOWN_DELAY: "10m" });
    bff.signal("SIGTERM");
    await bff.waitForLine(({ msg }) => msg === "stopping");
    expect(await repeatSignal(bff, "SIGTERM")).toBe(1);
    expect(bff.log().at(-1)).toMatchObject({
      msg: "stopped at once by a second signal: open requests are cut off",
    });
  });

  test("comes before SHUTDOWN_GRACE, which begins after it", async () => {
    const more = { SHUTDOWN_DELAY: "1s", SHUTDOWN_GRACE: "100ms" };
    const bff = await startTestBff(emulator.url, more);
    emulator.addFault({ delayMs: 60_000 });
    const cut = sendMessage(bff.url, "never").catch((error: unknown) => error);
    await expect.poll(() => emulator.messages().length).toBe(1);
    bff.signal("SIGTERM");
    expect(await bff.exited()).toBe(1);
    const messages = bff.log().map(({ msg }) => msg);
    expect(messages.slice(-3)).toEqual([
      "stopping",
      "draining",
      "stopped with requests unanswered: SHUTDOWN_GRACE is over",
    ]);
    expect(await cut).toBeInstanceOf(Error);
  });
});

describe("stopping", () => {
  test.each(["SIGTERM", "SIGINT"] as const)(
    "%s drains: accepted requests are answered, new ones are 503, idle sockets do not delay, exit code 0",
    async (signal) => {
      const bff = await startTestBff(emulator.url, { ...UNLIMITED, ADMIN_PORT: "0" });
      const { adminPort } = await bff.waitForLine(({ msg }) => msg === "listening");
      const adminUrl = `http://127.0.0.1:${String(adminPort)}`;
      const idle = await Promise.all(
        Array.from({ length: IDLE }, (_, index) => openRaw(index % 2 === 0 ? bff.url : adminUrl)),
      );
      for (const connection of idle) {
        connection.write("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
        await connection.received('{"status":"ok"}');
      }
      emulator.addFault({ delayMs: 3_000 }, { times: SLOW });
      const slow = Array.from({ length: SLOW }, (_, index) => {
        emulator.addChat({ chatId: `slow-${index}`, workspaceId: 42 });
        return sendMessage(bff.url, "slow", { chatId: `slow-${index}` });
      });
      await expect.poll(() => emulator.messages().length).toBe(SLOW);
      bff.signal(signal);
      const stopping = await bff.waitForLine(({ msg }) => msg === "stopping");
      expect(stopping).toMatchObject({ signal, inFlight: SLOW });

      for (const url of [bff.url, adminUrl]) {
        const ready = await fetch(`${url}/readyz`);
        expect(ready.status).toBe(503);
        expect(await readCode(ready)).toBe("shutting_down");
      }
      const late = await sendMessage(bff.url, "late");
      expect(late.status).toBe(503);
      expect(late.headers.get("connection")).toBe("close");
      expect(await readCode(late)).toBe("shutting_down");

      const answers = await Promise.all(slow);
      expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([201]));
      expect(await bff.exited()).toBe(0);
      for (const connection of idle) await connection.ended();
      expect(bff.log().at(-1)).toMatchObject({ level: "info", msg: "stopped" });
      expect(emulator.messages()).toHaveLength(SLOW);
      expect(emulator.messages().every(({ arrived, taken }) => arrived === 1 && taken === 1)).toBe(
        true,
      );
    },
  );

  test("writes the lines that a busy process has gathered, in their order, before it ends", async () => {
    const bff = await startTestBff(emulator.url);
    const ids = Array.from({ length: 400 }, (_, index) => `line-${index}`);
    const connection = await openRaw(bff.url);
    for (const id of ids) {
      const close = id === ids.at(-1) ? "Connection: close\r\n" : "";
      connection.write(`GET /healthz HTTP/1.1\r\nHost: x\r\nX-Request-Id: ${id}\r\n${close}\r\n`);
      // Fewer at a time than a connection may send ahead.
      if (Number(id.slice(5)) % 20 === 19) await connection.received(id);
    }
    await connection.ended();
    bff.signal("SIGTERM");
    expect(await bff.exited()).toBe(0);
    const written = bff.log().filter(({ msg }) => msg === "request");
    expect(written.map(({ reqId }) => reqId)).toEqual(ids);
  });

  test("is not held up by connections that never sent a whole request", async () => {
    const bff = await startTestBff(emulator.url);
    const silent = await openRaw(bff.url);
    const partial = await openRaw(bff.url);
    partial.write("POST /chat/chat-1/send HTTP/1.1\r\nHost: x\r\nConten");
    const between = await openRaw(bff.url);
    between.write("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /hea");
    await between.received('{"status":"ok"}');
    const unread = await openRaw(bff.url);
    unread.write("GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc");
    await unread.received('{"status":"ok"}');
    bff.signal("SIGTERM");
    expect(await bff.exited()).toBe(0);
    for (const connection of [silent, partial, between, unread]) await connection.ended();
  });

  test("sends `Connection: close` with an answer that is in progress", async () => {
    const bff = await startTestBff(emulator.url);
    emulator.addFault({ delayMs: 300 });
    const sending = sendMessage(bff.url, "slow");
    await expect.poll(() => emulator.messages().length).toBe(1);
    bff.signal("SIGTERM");
    const answer = await sending;
    expect(answer.status).toBe(201);
    expect(answer.headers.get("connection")).toBe("close");
    expect(await bff.exited()).toBe(0);
  });

  test.each(["SIGTERM", "SIGINT"] as const)(
    "ends by %s although the reader of its log is gone",
    async (signal) => {
      const bff = await startTestBff(emulator.url);
      bff.stopReading();
      bff.signal(signal);
      expect(await bff.exited()).toBe(0);
    },
  );

  test("a second signal ends it at once and logs the number of cut requests", async () => {
    const bff = await startTestBff(emulator.url, { ADMIN_PORT: "0" });
    emulator.addFault({ delayMs: 60_000 });
    const cut = sendMessage(bff.url, "never").catch((error: unknown) => error);
    await expect.poll(() => emulator.messages().length).toBe(1);
    bff.signal("SIGINT");
    await bff.waitForLine(({ msg }) => msg === "stopping");
    expect(await repeatSignal(bff, "SIGINT")).toBe(1);
    expect(bff.log().at(-1)).toMatchObject({ level: "error", cut: 1 });
    expect(await cut).toBeInstanceOf(Error);
  });

  test("after SHUTDOWN_GRACE it ends with exit code 1 and logs the number of cut requests", async () => {
    const bff = await startTestBff(emulator.url, { SHUTDOWN_GRACE: "100ms", ADMIN_PORT: "0" });
    emulator.addFault({ delayMs: 60_000 });
    const cut = sendMessage(bff.url, "never").catch((error: unknown) => error);
    await expect.poll(() => emulator.messages().length).toBe(1);
    bff.signal("SIGTERM");
    expect(await bff.exited()).toBe(1);
    const last = bff.log().at(-1);
    expect(last).toMatchObject({
      level: "error",
      msg: "stopped with requests unanswered: SHUTDOWN_GRACE is over",
      cut: 1,
    });
    expect(await cut).toBeInstanceOf(Error);
  });
});

/** Head of a message with a session; `framing` is the header that announces the body. */
async function startSend(framing: string): Promise<string> {
  const authorization = `Authorization: Bearer ${await mintToken()}`;
  const type = "Content-Type: application/json";
  const head = ["POST /chat/chat-1/send HTTP/1.1", "Host: x", authorization, type, framing];
  return `${head.join("\r\n")}\r\n\r\n`;
}

describe("requests below the application", () => {
  const broken = {
    "a header that is none": "GET / HTTP/1.1\r\nno colon here\r\n\r\n",
    "no HTTP at all": "\x16\x03\x01\x02\x00\r\n\r\n",
    "headers over the limit": `GET / HTTP/1.1\r\nHost: x\r\nX-Long: ${"a".repeat(40_000)}\r\n\r\n`,
    "two lengths": "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "a length beside chunks":
      "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "no Host": "GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n",
    "two Hosts": "GET /healthz HTTP/1.1\r\nHost: x\r\nHost: y\r\nConnection: close\r\n\r\n",
    "a transfer encoding besides chunks":
      "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\nConnection: close\r\n\r\n0\r\n\r\n",
    "chunks over HTTP/1.0":
      "POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a tunnel": "CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n",
    "a backslash in the path":
      "GET /chat\\..\\healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
  };

  test.each(Object.entries(broken))(
    "%s is a 400 problem, and the process lives",
    async (_name, text) => {
      const bff = await startTestBff(emulator.url);
      try {
        const connection = await openRaw(bff.url);
        connection.write(text);
        const answer = await connection.ended();
        expect(answer).toMatch(/^HTTP\/1\.1 400 /);
        expect(answer).toContain("application/problem+json");
        expect(answer).toContain('"code":"invalid_request"');
        const [, requestId] = /^x-request-id: (.+)\r$/im.exec(answer) ?? [];
        expect(requestId).toBeDefined();
        await bff.waitForLine(({ reqId, status }) => reqId === requestId && status === 400);
        expect((await fetch(`${bff.url}/healthz`)).status).toBe(200);
        expect(emulator.requests()).toHaveLength(0);
      } finally {
        await bff.stop();
      }
    },
  );

  test("bytes that follow a request on its connection cannot replace its answer", async () => {
    const bff = await startTestBff(emulator.url);
    try {
      emulator.addFault({ delayMs: 200 });
      const token = await mintToken();
      const body = '{"content":"whole"}';
      const connection = await openRaw(bff.url);
      connection.write(
        `POST /chat/chat-1/send HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${token}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}no HTTP\r\n\r\n`,
      );
      const answer = await connection.ended();
      expect(answer).toMatch(/^HTTP\/1\.1 201 /);
      expect(answer.match(/^HTTP\//gm)).toHaveLength(1);
      expect(emulator.messages()).toEqual([expect.objectContaining({ arrived: 1, taken: 1 })]);
    } finally {
      await bff.stop();
    }
  });

  test("an expectation that is not known is ignored, and a known one met", async () => {
    const bff = await startTestBff(emulator.url);
    try {
      for (const expectation of ["200-ok", "100-continue"]) {
        const connection = await openRaw(bff.url);
        connection.write(
          `GET /healthz HTTP/1.1\r\nHost: x\r\nExpect: ${expectation}\r\nConnection: close\r\n\r\n`,
        );
        expect(await connection.ended()).toContain('{"status":"ok"}');
      }
    } finally {
      await bff.stop();
    }
  });

  test("a body over the limit in chunks is 413 before it has all been sent", async () => {
    const bff = await startTestBff(emulator.url);
    try {
      const connection = await openRaw(bff.url);
      connection.write(await startSend("Transfer-Encoding: chunked"));
      const chunk = `1000\r\n${"a".repeat(4_096)}\r\n`;
      for (let count = 0; count < 9; count += 1) connection.write(chunk);
      const answer = await connection.received("content_too_large");
      expect(answer).toMatch(/^HTTP\/1\.1 413 /);
      connection.destroy();
    } finally {
      await bff.stop();
    }
  });

  test("a body that takes over ten seconds is 408", async () => {
    const bff = await startTestBff(emulator.url);
    try {
      const connection = await openRaw(bff.url);
      connection.write(`${await startSend("Content-Length: 20")}{`);
      const answer = await connection.received("request_timeout");
      expect(answer).toMatch(/^HTTP\/1\.1 408 /);
      connection.destroy();
    } finally {
      await bff.stop();
    }
  });
});
