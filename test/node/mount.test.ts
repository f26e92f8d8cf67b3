/** The service inside a server of the user, in this process. */
import { once } from "node:events";
import { createServer, type RequestListener, type Server } from "node:http";

import { afterEach, describe, expect, test } from "vitest";

import { type Bff, createBff, SettingsError } from "../../src/index.ts";
import { bffEnvironment, readCode } from "../support/bff-fixture.ts";
import { mintToken } from "../support/session-tokens.ts";

const SITE = "https://www.example.com";
const LOOPBACK = { peerAddress: "127.0.0.1" };
const { Request: OwnRequest, Response: OwnResponse } = globalThis;

const ends: (() => Promise<unknown>)[] = [];
const lines: string[] = [];
afterEach(async () => {
  await Promise.all(ends.splice(0).map((end) => end()));
  lines.length = 0;
});

async function create(more: Record<string, string> = {}): Promise<Bff> {
  const settings = { ...bffEnvironment("http://127.0.0.1:9"), BASE_PATH: "/api/chat", ...more };
  const bff = await createBff(settings, {
    log: (level, message, fields) => void lines.push(JSON.stringify({ level, message, fields })),
  });
  ends.push(() => bff.close());
  return bff;
}

async function serve(listener: RequestListener): Promise<string> {
  const server: Server = createServer(listener).listen(0, "127.0.0.1");
  await once(server, "listening");
  ends.push(() => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  });
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  return `http://127.0.0.1:${address.port}`;
}

const message = async () => ({
  method: "POST",
  headers: {
    Authorization: `Bearer ${await mintToken({ sub: "mounted" })}`,
    "Content-Type": "application/json",
  },
  body: '{"content":"hi"}',
});

test("wrong settings are one error that names each of them, and no secret", async () => {
  const settings = { SESSION_SECRET: "canary-secret", PORT: "x", BASE_PATH: "chat" };
  const error = await createBff(settings).catch((cause: unknown) => cause);
  expect(error).toBeInstanceOf(SettingsError);
  const { problems, message: text } = error as SettingsError;
  const named = problems.map(({ variable }) => variable);
  expect(named).toEqual(expect.arrayContaining(["PORT", "BASE_PATH", "SESSION_ISSUER"]));
  for (const variable of named) expect(text).toContain(variable);
  expect(String(error)).not.toContain("canary-secret");
});

test("the globals of the process stay as they are", async () => {
  await create();
  expect([globalThis.Request, globalThis.Response]).toEqual([OwnRequest, OwnResponse]);
});

describe("fetch", () => {
  test("answers below the base path only", async () => {
    const bff = await create();
    const ask = async (path: string) =>
      (await bff.fetch(new Request(`${SITE}${path}`), LOOPBACK)).status;
    expect(await ask("/api/chat/healthz")).toBe(200);
    expect(await ask("/healthz")).toBe(404);
  });

  test("counts by the address that it is given, and wants one where no proxy names it", async () => {
    const bff = await create({ LIMIT_AUTH_FAILURES: "1/1h" });
    const guess = async (peerAddress: string) => {
      const headers = { Authorization: "Bearer a.b.c" };
      const request = new Request(`${SITE}/api/chat/session`, { headers });
      return (await bff.fetch(request, { peerAddress })).status;
    };
    expect(await guess("192.0.2.1")).toBe(401);
    expect(await guess("192.0.2.1")).toBe(429);
    expect(await guess("192.0.2.2")).toBe(401);
    for (const none of ["", "unknown", "192.0.2.1, 192.0.2.2"]) {
      await expect(guess(none)).rejects.toThrow("TRUST_PROXY");
    }
    const behind = await create({ TRUST_PROXY: "1" });
    const request = new Request(`${SITE}/api/chat/healthz`);
    expect((await behind.fetch(request, { peerAddress: "" })).status).toBe(200);
  });

  test("says so in the log where the body was read before", async () => {
    const bff = await create();
    const request = new Request(`${SITE}/api/chat/chat/a/send`, await message());
    await request.text();
    expect(await readCode(await bff.fetch(request, LOOPBACK))).toBe("internal_error");
    expect(lines.join("\n")).toMatch(/readBody/);
  });

  test("ends a body that never comes", async () => {
    const bff = await create();
    const { headers, method } = await message();
    const body = new ReadableStream({ pull: () => new Promise(() => undefined) });
    const init = { method, headers, body, duplex: "half" as const };
    const answer = await bff.fetch(new Request(`${SITE}/api/chat/chat/a/send`, init), LOOPBACK);
    expect(await readCode(answer)).toBe("request_timeout");
  });

  test("bounds the body", async () => {
    const bff = await create();
    const { headers, method } = await message();
    const body = JSON.stringify({ content: "x".repeat(100_000) });
    const request = new Request(`${SITE}/api/chat/chat/a/send`, {
      method,
      headers,
      body,
    });
    expect(await readCode(await bff.fetch(request, LOOPBACK))).toBe("content_too_large");
  });
});

describe("the listener", () => {
  test("leaves other paths to next, and answers its own, also where the mount took the path off", async () => {
    const bff = await create();
    const url = await serve((incoming, outgoing) => {
      // As Express does at `app.use("/api/chat", …)`.
      if (incoming.url?.startsWith("/api/chat/") === true) {
        Object.assign(incoming, { originalUrl: incoming.url, url: incoming.url.slice(9) });
      }
      bff.listener(incoming, outgoing, () => outgoing.end("next"));
    });
    for (const path of ["/", "/chat", "/api/chatter", "/api", "/%61pi/chat/healthz"]) {
      expect(await (await fetch(url + path)).text()).toBe("next");
    }
    for (const path of ["/api/chat/healthz", "/api/chat/healthz?x"]) {
      expect(await (await fetch(url + path)).json()).toEqual({ status: "ok" });
    }
    expect(await readCode(await fetch(`${url}/api/chat/nothing`))).toBe("not_found");
  });

  test("says so in the log where the body was read before", async () => {
    const bff = await create();
    const url = await serve((incoming, outgoing) => {
      incoming.on("end", () => setImmediate(() => bff.listener(incoming, outgoing))).resume();
    });
    const answer = await fetch(`${url}/api/chat/chat/a/send`, await message());
    expect(await readCode(answer)).toBe("internal_error");
    expect(lines.join("\n")).toMatch(/readIncoming/);
  });

  test("refuses what a proxy could read differently", async () => {
    const bff = await create();
    const url = await serve((incoming, outgoing) => {
      incoming.headers.host = "www.example.com/path";
      bff.listener(incoming, outgoing);
    });
    expect(await readCode(await fetch(`${url}/api/chat/healthz`))).toBe("invalid_request");
  });
});

test("after close, requests are refused", async () => {
  const bff = await create();
  await bff.close();
  const headers = { Authorization: `Bearer ${await mintToken({})}` };
  const request = new Request(`${SITE}/api/chat/session`, { headers });
  expect(await readCode(await bff.fetch(request, LOOPBACK))).toBe("shutting_down");
});
