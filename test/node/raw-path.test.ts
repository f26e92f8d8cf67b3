/** Routing uses only the path as the client sent it, and nothing else of the request's head. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";

import type { RunningEmulator } from "../../src/emulator/listen.ts";
import { CHAT, renderSend, startTestBff, startTestEmulator } from "../support/bff-fixture.ts";
import type { BffProcess } from "../support/bff-process.ts";
import { openRaw } from "../support/raw-http.ts";

const HEALTH = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";

let emulator: RunningEmulator;

beforeAll(async () => {
  emulator = await startTestEmulator();
});
beforeEach(() => emulator.reset());
afterAll(() => emulator.close());

describe("the raw path", () => {
  let bff: BffProcess;
  beforeAll(async () => {
    bff = await startTestBff(emulator.url);
  });
  afterAll(() => bff.stop());

  const targets = [
    `/chat/x/%2e%2e/${CHAT}/send`,
    `/chat/x/../${CHAT}/send`,
    `/chat/./${CHAT}/send`,
    `/chat/%2E/${CHAT}/send`,
    `/chat/x/.%2e/${CHAT}/send`,
    `/x/%2e%2e/chat/${CHAT}/send`,
    `/chat/x\\..\\${CHAT}/send`,
    `http://x/chat/x/%2e%2e/${CHAT}/send`,
    `http://x/chat/x/../${CHAT}/send`,
    `http://x/../chat/${CHAT}/send`,
  ];

  test.each(targets)("%s is refused, and nothing goes to UponAI", async (target) => {
    const connection = await openRaw(bff.url);
    const send = (await renderSend("dots")).replace(`/chat/${CHAT}/send`, target);
    connection.write(send);
    const text = await connection.received("invalid_request");
    expect(text).toMatch(/^HTTP\/1\.1 400 /);
    expect(text).toContain("application/problem+json");
    connection.destroy();
    expect(emulator.requests()).toEqual([]);
  });

  test("decides alone: neither the Host header nor a second slash changes the route", async () => {
    const send = await renderSend("elsewhere");
    // Three letters grow by six characters each in the URL's host, as many as the path has. A check
    // of the host by its length alone would accept the path.
    const widened = `\u00c3.\u00c3.\u00c3/chat/${CHAT}/send?`;
    expect(new URL(`http://${widened}`).hostname).toHaveLength(widened.length);
    for (const host of [widened, "x/y", "x?y", "x#y", "u@x", "x\\y", "\u00c3"]) {
      const connection = await openRaw(bff.url);
      const request = send
        .replace(`/chat/${CHAT}/send`, "/nowhere")
        .replace("Host: x", `Host: ${host}`);
      connection.write(Buffer.from(request, "latin1"));
      expect(await connection.received("HTTP/1.1"), host).toMatch(/^HTTP\/1\.1 400 /);
      connection.destroy();
    }
    for (const target of [`//chat/${CHAT}/send`, `//x/chat/${CHAT}/send`]) {
      const connection = await openRaw(bff.url);
      connection.write(send.replace(`/chat/${CHAT}/send`, target));
      expect(await connection.received("HTTP/1.1"), target).toMatch(/^HTTP\/1\.1 404 /);
      connection.destroy();
    }
    expect(emulator.requests()).toEqual([]);
    for (const host of ["x", "X.example:8080", "[::1]", "[::1]:80", "127.0.0.1:1", "", "a_b"]) {
      const connection = await openRaw(bff.url);
      connection.write(HEALTH.replace("Host: x", `Host: ${host}`));
      expect(await connection.received("HTTP/1.1"), host).toMatch(/^HTTP\/1\.1 200 /);
      connection.destroy();
    }
  });

  test("in absolute form leads where the path alone does", async () => {
    const connection = await openRaw(bff.url);
    const send = (await renderSend("absolute")).replace("/chat", "http://x/chat");
    connection.write(send);
    expect(await connection.received('"messages"')).toMatch(/^HTTP\/1\.1 201 /);
    connection.destroy();
    const dots = await fetch(`${bff.url}/openapi.json?x=/../y`);
    expect(dots.status).toBe(200);
  });
});
