/** Redis that is down, hangs, restarts or refuses the service, as users and operators see it. */
import { Redis } from "ioredis";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";

import type { RunningEmulator } from "../../src/emulator/listen.ts";
import { readCode, sendMessage, startTestBff, startTestEmulator } from "../support/bff-fixture.ts";
import type { BffProcess } from "../support/bff-process.ts";
import { createTestChat, tell, type Told } from "../support/chat-fixture.ts";
import { type RedisServer, startRedis } from "../support/redis-server.ts";

const REDIS_TIMEOUT_MS = 1_000;
/**
 * Tolerance for a busy machine, in milliseconds, on top of the bound. A hang would take seconds.
 */
const SLACK_MS = 3_000;

let emulator: RunningEmulator;
let redis: RedisServer;
let bff: BffProcess;

beforeAll(async () => {
  emulator = await startTestEmulator();
});
beforeEach(async () => {
  emulator.reset();
  redis = await startRedis();
  bff = await start(redis.url);
  await expect.poll(() => readyStatus()).toBe(200);
});
afterEach(async () => {
  redis.resume();
  await bff.stop();
  await redis.kill();
});
afterAll(() => emulator.close());

function start(redisUrl: string): Promise<BffProcess> {
  return startTestBff(emulator.url, {
    REDIS_URL: redisUrl,
    REDIS_TIMEOUT: `${REDIS_TIMEOUT_MS}ms`,
    LIMIT_SESSION: "5/1h",
  });
}

async function readyStatus(): Promise<number> {
  return (await fetch(`${bff.url}/readyz`)).status;
}

/** Durations of all sends so far that were answered 503. */
function refusedMs(): number[] {
  return bff
    .log()
    .filter(({ status, route }) => status === 503 && route === "/chat/:chatId/send")
    .map(({ ms }) => Number(ms));
}

async function expectBounded(count: number): Promise<void> {
  await expect.poll(() => refusedMs().length).toBe(count);
  expect(Math.max(...refusedMs())).toBeLessThan(REDIS_TIMEOUT_MS + SLACK_MS);
}

async function expectUnavailable(response: Response): Promise<void> {
  expect(response.status).toBe(503);
  expect(response.headers.get("retry-after")).toBe("1");
  expect(await readCode(response)).toBe("state_unavailable");
}

/** `/readyz` may report a readiness that is one second old. */
async function expectUnready(): Promise<void> {
  await expect.poll(() => readyStatus()).toBe(503);
}

test("a killed Redis is 503 at once, named by readyz, and served again when it is back", async () => {
  await redis.kill();
  for (let count = 0; count < 10; count += 1)
    await expectUnavailable(await sendMessage(bff.url, "hi"));
  await expectUnready();
  expect(await readCode(await fetch(`${bff.url}/readyz`))).toBe("state_unavailable");
  expect((await fetch(`${bff.url}/healthz`)).status).toBe(200);
  await expectBounded(10);
  expect(emulator.messages()).toHaveLength(0);

  await redis.start();
  await expect.poll(() => readyStatus(), { timeout: 10_000 }).toBe(200);
  expect((await sendMessage(bff.url, "hi")).status).toBe(201);
});

test("a Redis that is down at the start does not keep the service from starting", async () => {
  await redis.kill();
  const early = await start(redis.url);
  try {
    await expectUnavailable(await sendMessage(early.url, "hi"));
    await redis.start();
    await expect
      .poll(async () => (await fetch(`${early.url}/readyz`)).status, { timeout: 10_000 })
      .toBe(200);
    expect((await sendMessage(early.url, "hi")).status).toBe(201);
  } finally {
    await early.stop();
  }
});

test("a hanging Redis is 503 within the bound, and commands that it runs late leave no records", async () => {
  redis.pause();
  const answers = await Promise.all(Array.from({ length: 20 }, () => sendMessage(bff.url, "hi")));
  for (const answer of answers) await expectUnavailable(answer);
  await expectBounded(20);
  await expectUnready();
  expect(emulator.messages()).toHaveLength(0);

  redis.resume();
  await expect.poll(() => readyStatus(), { timeout: 10_000 }).toBe(200);
  // None of the twenty requests holds the lock of the chat or has spent the limit of five.
  const served = await sendMessage(bff.url, "hi");
  expect(served.status).toBe(201);
  expect(served.headers.get("ratelimit")).toContain('"session";r=4');
});

test("a command that a hanging Redis runs after its instance has died leaves no records", async () => {
  const admin = new Redis(redis.url);
  try {
    expect((await sendMessage(bff.url, "loads the scripts")).status).toBe(201);
    await admin.flushall();
    await admin.config("RESETSTAT");
    redis.pause();
    await expectUnavailable(await sendMessage(bff.url, "hi"));
    bff.signal("SIGKILL");
    await bff.exited();
    redis.resume();
    // The command ran late, after the process that could withdraw its admission was gone.
    await expect.poll(() => admin.info("commandstats")).toContain("cmdstat_evalsha:calls=1");
    expect(await admin.keys("*")).toEqual([]);
  } finally {
    admin.disconnect();
  }
});

test("the answer of UponAI is returned although Redis fails meanwhile", async () => {
  emulator.addFault({ kind: "taken-then-delay", delayMs: 300 });
  const sending = sendMessage(bff.url, "hi", { headers: { "X-Request-Id": "unsettled" } });
  await expect.poll(() => emulator.messages().length).toBe(1);
  await redis.kill();
  const answer = await sending;
  expect(answer.status).toBe(201);
  expect(await answer.json()).toEqual({
    messages: [{ role: "assistant", content: "You said: hi" }],
  });
  const line = await bff.waitForLine(({ settled }) => settled !== undefined);
  expect(line).toMatchObject({ level: "warn", reqId: "unsettled", settled: "unavailable" });
});

describe("a message with a key", () => {
  test("that a hanging Redis refused is sent by the key's next call", async () => {
    const chat = createTestChat(emulator);
    redis.pause();
    const refused = await tell(chat.send(bff.url, "hi", { key: "k" }));
    expect(refused).toMatchObject({ status: 503, code: "state_unavailable" });
    await expectBounded(1);
    redis.resume();
    // The lock is gone, or it ends within a lease.
    let answer: Told | undefined;
    const send = async () => {
      answer = await tell(chat.send(bff.url, "hi", { key: "k" }));
      return answer.status;
    };
    await expect.poll(send, { timeout: 15_000 }).toBe(201);
    expect(answer).toMatchObject({ recovered: false, replayed: false });
    expect(chat.counts("hi")).toEqual({ arrived: 1, taken: 1 });
  });

  test("that was answered while Redis hung is stored for its key when Redis continues", async () => {
    const chat = createTestChat(emulator);
    chat.addFault({ delayMs: 300 });
    const sending = tell(chat.send(bff.url, "hi", { key: "k", requestId: "late-settled" }));
    await expect.poll(() => chat.counts("hi").arrived).toBe(1);
    redis.pause();
    const given = await sending;
    expect(given).toMatchObject({ status: 201, recovered: false });
    const line = await bff.waitForLine(({ settled }) => settled !== undefined);
    expect(line).toMatchObject({ level: "warn", reqId: "late-settled", settled: "unavailable" });
    redis.resume();
    await expect.poll(() => readyStatus(), { timeout: 10_000 }).toBe(200);
    const again = await tell(chat.send(bff.url, "hi", { key: "k" }));
    expect(again).toMatchObject({ status: 201, replayed: true, text: given.text });
    expect(chat.counts("hi")).toEqual({ arrived: 1, taken: 1 });
  });

  test("that Redis lost while it was in progress is stored for its key all the same", async () => {
    const chat = createTestChat(emulator);
    chat.addFault({ kind: "taken-then-delay", delayMs: 2_000 });
    const sending = tell(chat.send(bff.url, "pay", { key: "k" }));
    await expect.poll(() => chat.counts("pay").taken).toBe(1);
    await redis.kill();
    await redis.start();
    await expect.poll(() => readyStatus(), { timeout: 10_000 }).toBe(200);
    const given = await sending;
    const again = await tell(chat.send(bff.url, "pay", { key: "k" }));
    expect(again).toMatchObject({ status: 201, replayed: true, text: given.text });
    expect(chat.counts("pay")).toEqual({ arrived: 1, taken: 1 });
  });

  test("that Redis lost while it was in progress is restored by the next renewal", async () => {
    const chat = createTestChat(emulator);
    chat.addFault({ kind: "taken-then-delay", delayMs: 9_000 });
    const sending = tell(chat.send(bff.url, "pay", { key: "k" }));
    await expect.poll(() => chat.counts("pay").taken).toBe(1);
    const admin = new Redis(redis.url);
    try {
      await admin.flushall();
      await expect.poll(() => admin.keys("bff:{ws:42}:k:*")).toHaveLength(1);
    } finally {
      admin.disconnect();
    }
    const meanwhile = await tell(chat.send(bff.url, "pay", { key: "k" }));
    expect(meanwhile).toMatchObject({ status: 409, code: "request_in_progress" });
    const other = await tell(chat.send(bff.url, "more"));
    expect(other).toMatchObject({ status: 409, code: "chat_busy" });
    expect((await sending).status).toBe(201);
    const again = await tell(chat.send(bff.url, "pay", { key: "k" }));
    expect(again).toMatchObject({ status: 201, replayed: true });
    expect(chat.counts("pay")).toEqual({ arrived: 1, taken: 1 });
  });

  test("is answered although Redis fails before it stores the answer", async () => {
    const chat = createTestChat(emulator);
    chat.addFault({ kind: "taken-then-delay", delayMs: 300 });
    const sending = tell(chat.send(bff.url, "hi", { key: "k", requestId: "unkept" }));
    await expect.poll(() => chat.counts("hi").taken).toBe(1);
    await redis.kill();
    expect(await sending).toMatchObject({ status: 201, recovered: false, replayed: false });
    const line = await bff.waitForLine(({ settled }) => settled !== undefined);
    expect(line).toMatchObject({ level: "warn", reqId: "unkept", settled: "unavailable" });
  });
});

test.each([
  ["has no memory left", "maxmemory", "1", "OOM"],
  ["has too few replicas to write", "min-replicas-to-write", "1", "NOREPLICAS"],
])(
  "a Redis that %s is named by readyz and, once, in the log",
  async (_name, setting, value, reason) => {
    const admin = new Redis(redis.url);
    await admin.config("SET", setting, value);
    for (let count = 0; count < 5; count += 1)
      await expectUnavailable(await sendMessage(bff.url, "hi"));
    await expectUnready();
    await bff.waitForLine((line) => line["reason"] === reason);
    expect(
      bff
        .log()
        .filter(({ msg }) => msg === "state is unreachable: requests get 503 until it is back"),
    ).toHaveLength(1);
    await admin.config("SET", setting, "0");
    admin.disconnect();
    expect((await sendMessage(bff.url, "hi")).status).toBe(201);
    await bff.waitForLine(({ msg }) => msg === "state is reachable again");
  },
);

test("console output of a library becomes a JSON line without its text", async () => {
  // A password that Redis does not require: ioredis warns about it on the console, in plain text.
  const limited = await start(`redis://:needless-canary@127.0.0.1:${redis.port}`);
  try {
    expect((await sendMessage(limited.url, "hi")).status).toBe(201);
  } finally {
    await limited.stop();
  }
  // Reading the lines parsed each of them as JSON.
  const written = limited.log().filter(({ msg }) => msg === "a library wrote to the console");
  expect(written).not.toEqual([]);
  expect(limited.lines.join()).not.toContain("password was supplied");
});

test("a database that Redis does not have is an outage, not another database", async () => {
  const elsewhere = await start(`${redis.url}/99`);
  try {
    await expectUnavailable(await sendMessage(elsewhere.url, "hi"));
    expect(
      await elsewhere.waitForLine(
        ({ msg }) => msg === "state is unreachable: requests get 503 until it is back",
      ),
    ).toMatchObject({
      reason: "ERR",
    });
    expect((await fetch(`${elsewhere.url}/readyz`)).status).toBe(503);
  } finally {
    await elsewhere.stop();
  }
});

test("a Redis that lost the scripts gets them again", async () => {
  expect((await sendMessage(bff.url, "before")).status).toBe(201);
  const admin = new Redis(redis.url);
  await admin.script("FLUSH");
  admin.disconnect();
  expect((await sendMessage(bff.url, "after")).status).toBe(201);
});

test("a wrong Redis password is named in the log, without the password", async () => {
  const guarded = await startRedis(["--requirepass", "right-password"]);
  const locked = await start(`redis://:wrong-canary-password@127.0.0.1:${guarded.port}`);
  try {
    await locked.waitForLine(({ reason }) => reason === "WRONGPASS");
    await expectUnavailable(await sendMessage(locked.url, "hi"));
    expect(locked.lines.join("\n")).not.toContain("wrong-canary-password");
  } finally {
    await locked.stop();
    await guarded.kill();
  }
});

test("a primary that has become read-only is named in the log, and served from once it is not", async () => {
  const admin = new Redis(redis.url);
  await admin.replicaof("127.0.0.1", 1);
  await expectUnavailable(await sendMessage(bff.url, "hi"));
  await bff.waitForLine(({ reason }) => reason === "READONLY");
  await expectUnready();
  await admin.replicaof("NO", "ONE");
  admin.disconnect();
  await expect.poll(() => readyStatus(), { timeout: 10_000 }).toBe(200);
  expect((await sendMessage(bff.url, "hi")).status).toBe(201);
});
