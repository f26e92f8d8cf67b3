/**
 * Faults of UponAI and of the network that only a Node process shows: log lines, tokens in turn,
 * bytes that are no HTTP. The contract suite has the answers to all other faults.
 */
import { createServer } from "node:net";

import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";

import type { RunningEmulator } from "../../src/emulator/listen.ts";
import { readCode, sendMessage, startTestBff, startTestEmulator } from "../support/bff-fixture.ts";
import type { BffProcess } from "../support/bff-process.ts";
import { findFreePort } from "../support/ports.ts";

let emulator: RunningEmulator;
let bff: BffProcess;

beforeAll(async () => {
  emulator = await startTestEmulator();
  bff = await startTestBff(emulator.url);
});
beforeEach(() => emulator.reset());
afterAll(async () => {
  await bff.stop();
  await emulator.close();
});

test("a refusal of the token by UponAI is logged at error level", async () => {
  emulator.addFault({ kind: "status", status: 403 });
  await sendMessage(bff.url, "hi", { headers: { "X-Request-Id": "refused-token" } });
  const line = await bff.waitForLine(({ reqId }) => reqId === "refused-token");
  expect(line).toMatchObject({
    level: "error",
    code: "upstream_auth_failed",
    upstreamStatus: 403,
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
    const answer = await sendMessage(alone.url, "hi", {
      headers: { "X-Request-Id": "no-listener" },
    });
    expect(answer.status).toBe(502);
    expect(await readCode(answer)).toBe("upstream_unreachable");
    expect(await alone.waitForLine(({ reqId }) => reqId === "no-listener")).toMatchObject({
      retries: 1,
    });
  } finally {
    await alone.stop();
  }
});
