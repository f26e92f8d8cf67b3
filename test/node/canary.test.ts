/**
 * Requests with secrets and personal data in all places: no answer and no log line may contain
 * them.
 */
import { afterAll, beforeAll, expect, test } from "vitest";

import type { RunningEmulator } from "../../src/emulator/listen.ts";
import { startTestBff, startTestEmulator } from "../support/bff-fixture.ts";
import type { BffProcess } from "../support/bff-process.ts";
import { expectNoCanary } from "../support/canary.ts";
import { type RedisServer, startRedis } from "../support/redis-server.ts";
import { mintToken } from "../support/session-tokens.ts";

const PASSWORD = "redis-canary-password";

let emulator: RunningEmulator;
let redis: RedisServer;
let bff: BffProcess;

beforeAll(async () => {
  emulator = await startTestEmulator();
  redis = await startRedis(["--requirepass", PASSWORD]);
  bff = await startTestBff(emulator.url, {
    REDIS_URL: `redis://:${PASSWORD}@127.0.0.1:${redis.port}`,
    LOG_LEVEL: "debug",
  });
});
afterAll(async () => {
  await redis.kill();
  await emulator.close();
});

test("no secret, token, cookie, content, subject or chat id is in any answer or log line", async () => {
  const token = await mintToken({ sub: "subject-canary", email: "canary@example.test" });
  const expired = await mintToken({ sub: "subject-canary", exp: 1 });
  const unsigned = `${token.slice(0, token.lastIndexOf("."))}.canary`;
  const bodies = [
    '{"content":"canary message"}',
    '{"content":"canary","extra":1}',
    '{"content": canary',
    '{"content":["canary"]}',
  ];
  const paths = [
    "/chat/canary-chat/send",
    "/chat/canary%20chat/send",
    "/chat/chat-1/send?token=canary",
    "/canary",
    "/healthz?canary",
  ];
  const faults = [
    undefined,
    { kind: "status", status: 500, body: "canary", headers: { "x-canary": "canary" } },
    { kind: "status", status: 401, body: "canary" },
    { kind: "body", body: '{"messages":[{"role":"system","content":"canary"}],"canary":true}' },
    { kind: "body", body: '{"messages":"canary"}' },
    { kind: "redirect", location: "http://127.0.0.1:9/canary" },
    { kind: "reset-after" },
  ] as const;
  let asked = 0;
  for (const path of paths) {
    for (const credentials of [
      `Bearer ${token}`,
      `Bearer ${expired}`,
      `Bearer ${unsigned}`,
      "Basic canary",
    ]) {
      for (const body of bodies) {
        emulator.reset();
        const fault = faults[asked % faults.length];
        if (fault !== undefined) emulator.addFault(fault);
        const answer = await fetch(`${bff.url}${path}`, {
          method: "POST",
          redirect: "manual",
          headers: {
            Authorization: credentials,
            "Content-Type": "application/json",
            Cookie: "session=canary",
            "User-Agent": "canary",
            "X-Request-Id": "canary but not well-formed",
            "X-Forwarded-For": "canary",
          },
          body,
        });
        // Only the agent's words may appear in the answer.
        const text = (await answer.text()).replaceAll('"You said: canary message"', '""');
        expectNoCanary(`${answer.status} ${JSON.stringify([...answer.headers])} ${text}`);
        asked += 1;
      }
    }
  }
  expect(asked).toBe(paths.length * 4 * bodies.length);
  await redis.kill();
  const out = await fetch(`${bff.url}/chat/chat-1/send`, {
    method: "POST",
    headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" },
    body: '{"content":"canary"}',
  });
  expectNoCanary(await out.text());

  expect(await bff.stop()).toBe(0);
  const lines = bff.lines.join("\n");
  expect(bff.log().filter(({ msg }) => msg === "request").length).toBeGreaterThanOrEqual(asked);
  expectNoCanary(lines);
  // Nor in another encoding: the parts of the token, and the message in base64.
  for (const part of [...token.split("."), Buffer.from("canary").toString("base64url")]) {
    expect(lines).not.toContain(part);
  }
});
