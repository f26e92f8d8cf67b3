/**
 * Faults of UponAI and of the network on the way: the answer to the sender, and how often it is
 * sent.
 */
import { createServer } from "node:net";

import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";

import type { Fault } from "../../src/emulator/faults.ts";
import type { RunningEmulator } from "../../src/emulator/listen.ts";
import { readCode, sendMessage, startTestBff, startTestEmulator } from "../support/bff-fixture.ts";
import type { BffProcess } from "../support/bff-process.ts";
import { findFreePort } from "../support/ports.ts";

let emulator: RunningEmulator;
let bff: BffProcess;

beforeAll(async () => {
  emulator = await startTestEmulator();
  bff = await startTestBff(emulator.url, {
    UPSTREAM_TIMEOUT: "1s",
    LIMIT_SESSION: "off",
    LIMIT_IP: "off",
  });
});
beforeEach(() => emulator.reset());
afterAll(async () => {
  await bff.stop();
  await emulator.close();
});

interface Case {
  readonly name: string;
  readonly fault: Fault;
  readonly status: number;
  readonly code: string;
  readonly retryAfter?: string;
}

const status = (code: number, more: { retryAfter?: string } = {}): Fault => ({
  kind: "status",
  status: code,
  ...more,
});

const cases: readonly Case[] = [
  { name: "400", fault: status(400), status: 422, code: "message_rejected" },
  { name: "401", fault: status(401), status: 502, code: "upstream_auth_failed" },
  { name: "402", fault: status(402), status: 502, code: "upstream_error" },
  { name: "403", fault: status(403), status: 502, code: "upstream_auth_failed" },
  { name: "404", fault: status(404), status: 404, code: "chat_not_found" },
  { name: "409", fault: status(409), status: 409, code: "chat_ended" },
  { name: "410", fault: status(410), status: 409, code: "chat_ended" },
  { name: "422", fault: status(422), status: 422, code: "message_rejected" },
  { name: "429", fault: status(429), status: 503, code: "upstream_busy", retryAfter: "1" },
  {
    name: "429 with Retry-After",
    fault: status(429, { retryAfter: "7" }),
    status: 503,
    code: "upstream_busy",
    retryAfter: "7",
  },
  {
    name: "503 with a long Retry-After",
    fault: status(503, { retryAfter: "900" }),
    status: 503,
    code: "upstream_busy",
    retryAfter: "60",
  },
  { name: "503", fault: status(503), status: 502, code: "upstream_error" },
  {
    name: "503 with a Retry-After that is no time",
    fault: status(503, { retryAfter: "soon" }),
    status: 502,
    code: "upstream_error",
  },
  { name: "500", fault: status(500), status: 502, code: "upstream_error" },
  { name: "101", fault: status(101), status: 502, code: "upstream_malformed" },
  { name: "202", fault: status(202), status: 502, code: "upstream_malformed" },
  { name: "204", fault: status(204), status: 502, code: "upstream_malformed" },
  { name: "a redirect", fault: { kind: "redirect" }, status: 502, code: "upstream_malformed" },
  { name: "no JSON", fault: { kind: "garbage" }, status: 502, code: "upstream_malformed" },
  {
    name: "JSON of another shape",
    fault: { kind: "body", body: '{"messages":{"role":"assistant"}}' },
    status: 502,
    code: "upstream_malformed",
  },
  { name: "a huge answer", fault: { kind: "huge" }, status: 502, code: "upstream_malformed" },
  {
    name: "a compressed bomb",
    fault: { kind: "gzip", bytes: 20_000_000 },
    status: 502,
    code: "upstream_malformed",
  },
  {
    name: "an unknown encoding",
    fault: { kind: "body", body: "x", headers: { "content-encoding": "zstd" } },
    status: 502,
    code: "upstream_malformed",
  },
  { name: "a reset", fault: { kind: "reset-before" }, status: 504, code: "outcome_unknown" },
  {
    name: "a reset after taking it",
    fault: { kind: "reset-after" },
    status: 504,
    code: "outcome_unknown",
  },
  { name: "silence", fault: { delayMs: 5_000 }, status: 504, code: "upstream_timeout" },
  {
    name: "a slow drip",
    fault: { kind: "drip", everyMs: 200 },
    status: 504,
    code: "upstream_timeout",
  },
  { name: "a chat that was closed", fault: { kind: "closed" }, status: 409, code: "chat_ended" },
];

describe("UponAI answers", () => {
  test.each(cases)("$name", async ({ fault, status: expected, code, retryAfter }) => {
    emulator.addFault(fault);
    const answer = await sendMessage(bff.url, "hi");
    const text = await answer.text();
    expect(JSON.parse(text)).toMatchObject({ status: expected, code });
    expect(answer.status).toBe(expected);
    expect(answer.headers.get("content-type")).toBe("application/problem+json");
    expect(answer.headers.get("retry-after")).toBe(retryAfter ?? null);
    expect(answer.headers.get("ratelimit")).toContain('"workspace";r=');
    // The answer holds nothing of the upstream's, and the message was sent once.
    expect(text).not.toContain("fault");
    expect(answer.headers.get("location")).toBeNull();
    expect(emulator.requests()).toHaveLength(1);
    // The lock of the chat is free again.
    emulator.reset();
    expect((await sendMessage(bff.url, "again")).status).toBe(201);
  });

  test("an unrequested gzip answer is decoded", async () => {
    emulator.addFault({ kind: "gzip" });
    const answer = await sendMessage(bff.url, "hi");
    expect(await answer.json()).toEqual({
      messages: [{ role: "assistant", content: "You said: hi" }],
    });
  });

  test("a refusal of the token by UponAI is logged at error level", async () => {
    emulator.addFault(status(403));
    await sendMessage(bff.url, "hi", { headers: { "X-Request-Id": "refused-token" } });
    const line = await bff.waitForLine(({ reqId }) => reqId === "refused-token");
    expect(line).toMatchObject({
      level: "error",
      code: "upstream_auth_failed",
      upstreamStatus: 403,
    });
  });
});

test("a token that is being rotated out gives way to the next, which is remembered", async () => {
  const rotating = await startTestBff(emulator.url, {
    UPONAI_API_TOKEN: "withdrawn-token,upstream-canary-token",
  });
  try {
    expect((await sendMessage(rotating.url, "one")).status).toBe(201);
    expect((await sendMessage(rotating.url, "two")).status).toBe(201);
    const tokens = emulator.requests().map(({ headers }) => headers["authorization"]);
    expect(tokens).toEqual([
      "Bearer withdrawn-token",
      "Bearer upstream-canary-token",
      "Bearer upstream-canary-token",
    ]);
  } finally {
    await rotating.stop();
  }
});

test.each<[string, string, boolean?]>([
  ["no HTTP", "SSH-2.0-OpenSSH_9.9\r\n"],
  [
    "headers without end",
    `HTTP/1.1 201 Created\r\n${`X-Long: ${"a".repeat(4_000)}\r\n`.repeat(8)}`,
  ],
  ["interim answers without end", "HTTP/1.1 102 Processing\r\n\r\n".repeat(1_000)],
  ["half a status line", "HTTP/1.1 20", true],
  ["chunks that are none", "HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"],
])(
  "an upstream that speaks %s is upstream_malformed, asked once",
  async (_name, bytes, ends = false) => {
    let asked = 0;
    const server = createServer((socket) => {
      socket.on("error", () => undefined);
      socket.once("data", () => {
        asked += 1;
        socket.write(bytes);
        if (ends) socket.end();
      });
    });
    const port = await findFreePort();
    server.listen(port, "127.0.0.1");
    const strange = await startTestBff(`http://127.0.0.1:${port}`);
    try {
      const answer = await sendMessage(strange.url, "hi");
      expect(answer.status).toBe(502);
      expect(await readCode(answer)).toBe("upstream_malformed");
      expect(asked).toBe(1);
    } finally {
      await strange.stop();
      server.close();
    }
  },
);

test("a port without a listener is upstream_unreachable after two attempts", async () => {
  const alone = await startTestBff(`http://127.0.0.1:${await findFreePort()}`);
  try {
    const answer = await sendMessage(alone.url, "hi", { headers: { "X-Request-Id": "nobody" } });
    expect(answer.status).toBe(502);
    expect(await readCode(answer)).toBe("upstream_unreachable");
    expect(await alone.waitForLine(({ reqId }) => reqId === "nobody")).toMatchObject({
      retries: 1,
    });
  } finally {
    await alone.stop();
  }
});
