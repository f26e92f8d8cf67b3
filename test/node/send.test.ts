/** The built service between a real Redis and the emulator, over real sockets. */
import { Redis } from "ioredis";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";

import type { RunningEmulator } from "../../src/emulator/listen.ts";
import {
  CHAT,
  readCode,
  sendMessage,
  startTestBff,
  startTestEmulator,
  UPSTREAM_TOKEN,
} from "../support/bff-fixture.ts";
import type { BffProcess } from "../support/bff-process.ts";
import { type RedisServer, startRedis } from "../support/redis-server.ts";
import { mintToken } from "../support/session-tokens.ts";

let emulator: RunningEmulator;
let redis: RedisServer;
let bff: BffProcess;

beforeAll(async () => {
  emulator = await startTestEmulator();
  redis = await startRedis();
  // Many subjects share one chat in these tests; ownership is tested elsewhere.
  bff = await startTestBff(emulator.url, { REDIS_URL: redis.url, CHAT_ACCESS: "workspace" });
});
beforeEach(() => {
  emulator.reset();
});
afterAll(async () => {
  await bff.stop();
  await redis.kill();
  await emulator.close();
});

describe("a message", () => {
  test("reaches UponAI once, with the server's token and nothing of the browser's", async () => {
    const response = await sendMessage(bff.url, "Hello", {
      headers: {
        Cookie: "theirs=1",
        "X-Forwarded-For": "203.0.113.9",
        Origin: "https://shop.test",
        "X-Request-Id": "request-1",
        traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
      },
    });
    expect(response.status).toBe(201);
    expect(await response.json()).toEqual({
      messages: [{ role: "assistant", content: "You said: Hello" }],
    });
    expect(response.headers.get("x-request-id")).toBe("request-1");
    expect(emulator.messages()).toEqual([
      { chatId: "chat-1", content: "Hello", arrived: 1, taken: 1 },
    ]);
    const [seen] = emulator.requests();
    expect(seen?.body).toBe('{"workspaceId":42,"content":"Hello"}');
    expect(Object.keys(seen?.headers ?? {}).toSorted()).toEqual([
      "accept",
      "accept-encoding",
      "authorization",
      "connection",
      "content-length",
      "content-type",
      "host",
      "traceparent",
      "user-agent",
      "x-request-id",
    ]);
    expect(seen?.headers["authorization"]).toBe(`Bearer ${UPSTREAM_TOKEN}`);
  });

  test("is completed and unlocks the chat even if its sender hangs up", async () => {
    emulator.addFault({ delayMs: 200 });
    const token = await mintToken({ sub: "leaver" });
    const leaving = new AbortController();
    const gone = fetch(`${bff.url}/chat/${CHAT}/send`, {
      method: "POST",
      headers: {
        Authorization: `Bearer ${token}`,
        "Content-Type": "application/json",
        "X-Request-Id": "left",
      },
      body: '{"content":"I leave"}',
      signal: leaving.signal,
    });
    await expect.poll(() => emulator.messages().length).toBe(1);
    leaving.abort();
    await expect(gone).rejects.toThrow("abort");
    const line = await bff.waitForLine(({ reqId }) => reqId === "left");
    expect(line["status"]).toBe(201);
    expect(emulator.messages()[0]).toMatchObject({ arrived: 1, taken: 1 });
    // Counted for the client's address, although the connection is closed.
    const client = new Redis(redis.url);
    const counted = await client.keys("bff:{ws:42}:a:*");
    client.disconnect();
    expect(counted).toEqual(["bff:{ws:42}:a:127.0.0.1"]);
    expect((await sendMessage(bff.url, "and back", { subject: "leaver" })).status).toBe(201);
  });

  test("into a chat that is answering another is refused, spends nothing and reaches nothing", async () => {
    emulator.addFault({ delayMs: 300 });
    const first = sendMessage(bff.url, "first", { subject: "eager" });
    await expect.poll(() => emulator.messages().length).toBe(1);
    const second = await sendMessage(bff.url, "second", { subject: "eager" });
    expect(second.status).toBe(409);
    expect(second.headers.get("retry-after")).toBe("1");
    expect(await readCode(second)).toBe("chat_busy");
    // Refused requests spent nothing: 19 of 20 requests remain while one is running.
    expect(second.headers.get("ratelimit")).toContain('"session";r=19');
    expect((await first).status).toBe(201);
    expect(emulator.messages()).toHaveLength(1);
  });
});

describe("limits", () => {
  test("200 parallel messages over two instances on one Redis admit exactly the limit", async () => {
    const limited = {
      REDIS_URL: redis.url,
      LIMIT_SESSION: "37/1h",
      LIMIT_IP: "off",
      REDIS_PREFIX: "parallel:",
    };
    const [one, two] = await Promise.all([
      startTestBff(emulator.url, limited),
      startTestBff(emulator.url, limited),
    ]);
    try {
      for (let chat = 0; chat < 200; chat += 1) {
        emulator.addChat({ chatId: `parallel-${chat}`, workspaceId: 42 });
      }
      const answers = await Promise.all(
        Array.from({ length: 200 }, (_, index) =>
          sendMessage(index % 2 === 0 ? one.url : two.url, `message ${index}`, {
            chatId: `parallel-${index}`,
          }),
        ),
      );
      const statuses = Map.groupBy(answers, ({ status }) => status);
      expect(statuses.get(201)).toHaveLength(37);
      expect(statuses.get(429)).toHaveLength(163);
      const taken = emulator.messages();
      expect(taken).toHaveLength(37);
      expect(taken.every((message) => message.arrived === 1 && message.taken === 1)).toBe(true);
    } finally {
      await Promise.all([one.stop(), two.stop()]);
    }
  });

  test("a refusal says which limit, and when to come back", async () => {
    const tight = await startTestBff(emulator.url, {
      REDIS_URL: redis.url,
      LIMIT_SESSION: "2/1m",
      REDIS_PREFIX: "tight:",
    });
    try {
      await sendMessage(tight.url, "one");
      await sendMessage(tight.url, "two");
      const refused = await sendMessage(tight.url, "three");
      expect(refused.status).toBe(429);
      expect(await refused.json()).toMatchObject({
        code: "rate_limited",
        "violated-policies": ["session"],
      });
      const retryAfter = Number(refused.headers.get("retry-after"));
      expect(retryAfter).toBeGreaterThanOrEqual(29);
      expect(retryAfter).toBeLessThanOrEqual(30);
      expect(refused.headers.get("ratelimit")).toMatch(
        new RegExp(`^"session";r=0;t=${retryAfter}, "ip";r=11\\d;t=1, "workspace";r=59\\d;t=1$`),
      );
      expect(emulator.messages()).toHaveLength(2);
    } finally {
      await tight.stop();
    }
  });

  test("every key in Redis carries the workspace's hash tag and expires", async () => {
    const client = new Redis(redis.url);
    try {
      emulator.addFault({ delayMs: 200 }, { operation: "completion" });
      const headers = { "Idempotency-Key": "keys" };
      const sending = sendMessage(bff.url, "keys", { headers });
      await expect.poll(() => emulator.messages().length).toBe(1);
      const keys = await client.keys("bff:*");
      const chat = "bff:{ws:42}:c2:chat-1";
      const running = async () => (await client.get(chat))?.split(" ")[7];
      expect(await running()).not.toBe("-");
      expect(keys).toContain(chat);
      for (const key of keys) {
        expect(key).toMatch(/^bff:(?:\{ws:42\}:(?:u:|w2|a:|c2:|k:)|\{af:)/);
        // 0 or -2: gone by now, as the shortest are within a tenth of a second.
        expect(await client.pttl(key)).not.toBe(-1);
      }
      await sending;
      expect(await running()).toBe("-");
    } finally {
      client.disconnect();
    }
  });
});
