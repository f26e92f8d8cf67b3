/**
 * Answers that outlast every proxy, over real processes: a client with a bounded wait behind proxies
 * that cut silent requests, with several instances, and while instances stop or die.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";

import type { RunningEmulator } from "../../src/emulator/listen.ts";
import { sendMessage, startTestBff, startTestEmulator } from "../support/bff-fixture.ts";
import type { BffProcess } from "../support/bff-process.ts";
import { createTestChat, type TestChat } from "../support/chat-fixture.ts";
import { type CuttingProxyOptions, startCuttingProxy } from "../support/cutting-proxy.ts";
import { sendPatiently } from "../support/patient-client.ts";
import { type RedisServer, startRedis } from "../support/redis-server.ts";
import { readGauge } from "../soak/memory.ts";

/** A proxy that cuts at 60 s and an answer that takes 70 s and more, scaled down. */
const CUT_MS = 3_000;
const DELAY_MS = 10_000;
/** By contract an answer is given within a second after it is there, on any instance. */
const GIVEN_WITHIN_MS = 1_000;
/** Tolerance for a busy machine and a repeat that is on its way, in milliseconds. */
const SLACK_MS = 2_000;

let emulator: RunningEmulator;
let redis: RedisServer;
let one: BffProcess;
let two: BffProcess;

beforeAll(async () => {
  [emulator, redis] = await Promise.all([startTestEmulator(), startRedis()]);
  [one, two] = await Promise.all([startInstance(), startInstance()]);
});
afterAll(async () => {
  await Promise.all([one.stop(), two.stop()]);
  await redis.kill();
  await emulator.close();
});

/** Starts an instance on the shared Redis. */
function startInstance(more: Record<string, string> = {}): Promise<BffProcess> {
  return startTestBff(emulator.url, {
    REDIS_URL: redis.url,
    REDIS_TIMEOUT: "3s",
    LIMIT_IP: "off",
    LIMIT_SESSION: "off",
    ...more,
  });
}

function answerTo(content: string): string {
  return JSON.stringify({ messages: [{ role: "assistant", content: `You said: ${content}` }] });
}

async function behindProxy<Result>(
  options: CuttingProxyOptions,
  use: (url: string, cuts: () => number) => Promise<Result>,
): Promise<Result> {
  const proxy = await startCuttingProxy(options);
  try {
    return await use(proxy.url, () => proxy.cuts());
  } finally {
    await proxy.close();
  }
}

/** Resolves with the monotonic time at which UponAI has answered the message, in milliseconds. */
async function untilReady(chat: TestChat, content: string): Promise<number> {
  await expect
    .poll(() => chat.counts(content).taken, { interval: 20, timeout: 3 * DELAY_MS })
    .toBe(1);
  return performance.now();
}

describe.concurrent("behind a proxy that cuts silent requests", { timeout: 90_000 }, () => {
  test("a client without Prefer gets the proxy's HTML page", async () => {
    const chat = createTestChat(emulator);
    chat.addFault({ delayMs: DELAY_MS });
    await behindProxy({ targets: [one.url], cutMs: CUT_MS }, async (url, cuts) => {
      const answer = await chat.send(url, "cut", { key: "k" });
      expect([answer.status, answer.headers.get("content-type")]).toEqual([504, "text/html"]);
      expect(cuts()).toBe(1);
    });
  });

  test.each([
    ["passes answers on", false],
    ["buffers whole answers", true],
  ])("and %s, a bounded wait gets the answer, and the message is sent once", async (_, buffers) => {
    const chat = createTestChat(emulator);
    chat.addFault({ delayMs: DELAY_MS });
    const options = { targets: [one.url], cutMs: CUT_MS, buffers };
    await behindProxy(options, async (url, cuts) => {
      const [answer, readyMs] = await Promise.all([
        sendPatiently(chat, url, "long", 2),
        untilReady(chat, "long"),
      ]);
      expect(answer).toMatchObject({ status: 201, text: answerTo("long") });
      expect(answer.seen).toMatchObject({ html: 0, broken: 0 });
      expect(answer.seen["202"]).toBeGreaterThan(2);
      expect(answer.atMs - readyMs).toBeLessThan(GIVEN_WITHIN_MS + SLACK_MS);
      expect(cuts()).toBe(0);
    });
    expect(chat.counts("long")).toEqual({ arrived: 1, taken: 1 });
  });

  test("a wait that is longer than the proxy's is cut, and the repeats get the answer all the same", async () => {
    const chat = createTestChat(emulator);
    chat.addFault({ delayMs: DELAY_MS });
    await behindProxy({ targets: [one.url], cutMs: CUT_MS }, async (url, cuts) => {
      const [answer, readyMs] = await Promise.all([
        sendPatiently(chat, url, "cut off", 55),
        untilReady(chat, "cut off"),
      ]);
      expect(answer).toMatchObject({ status: 201, text: answerTo("cut off") });
      expect(answer.seen.html).toBe(cuts());
      expect(answer.seen.html).toBeGreaterThan(1);
      expect(answer.atMs - readyMs).toBeLessThan(GIVEN_WITHIN_MS + SLACK_MS);
    });
    expect(chat.counts("cut off")).toEqual({ arrived: 1, taken: 1 });
  });

  test("repeats that reach the other instance wait there, and get the same answer", async () => {
    const chat = createTestChat(emulator);
    chat.addFault({ delayMs: DELAY_MS });
    await behindProxy({ targets: [one.url, two.url], cutMs: CUT_MS }, async (url) => {
      const [answer, readyMs] = await Promise.all([
        sendPatiently(chat, url, "in turn", 2),
        untilReady(chat, "in turn"),
      ]);
      expect(answer).toMatchObject({ status: 201, text: answerTo("in turn") });
      expect(answer.seen["202"]).toBeGreaterThan(2);
      expect(answer.atMs - readyMs).toBeLessThan(GIVEN_WITHIN_MS + SLACK_MS);
      const again = await sendPatiently(chat, url, "in turn", 2);
      expect(again.text).toBe(answer.text);
      expect(again.headers.get("idempotency-replayed")).toBe("true");
    });
    expect(chat.counts("in turn")).toEqual({ arrived: 1, taken: 1 });
  });

  test("an instance that is killed in the middle is replaced by another one's search", async () => {
    const chat = createTestChat(emulator);
    chat.addFault({ kind: "taken-then-delay", delayMs: 60_000 });
    const victim = await startInstance();
    await behindProxy({ targets: [victim.url, two.url], cutMs: CUT_MS }, async (url) => {
      const sending = sendPatiently(chat, url, "orphan", 2);
      await expect.poll(() => chat.counts("orphan").taken).toBe(1);
      victim.signal("SIGKILL");
      const answer = await sending;
      expect(answer).toMatchObject({ status: 201, text: answerTo("orphan") });
      expect(answer.headers.get("message-recovered")).toBe("true");
      expect(answer.seen["202"]).toBeGreaterThan(0);
    });
    expect(chat.counts("orphan")).toEqual({ arrived: 1, taken: 1 });
  });
});

describe.concurrent("an instance that stops", { timeout: 60_000 }, () => {
  test("lets its waits go with 202 and Retry-After 1, finishes the message and exits 0", async () => {
    const chat = createTestChat(emulator);
    chat.addFault({ delayMs: 4_000 });
    const stopping = await startInstance();
    const waits = Array.from({ length: 3 }, () =>
      sendMessage(stopping.url, "stop", {
        subject: chat.subject,
        chatId: chat.chatId,
        headers: { "Idempotency-Key": "patient", Prefer: "respond-async, wait=55" },
      }),
    );
    await expect.poll(() => chat.counts("stop").arrived).toBe(1);
    stopping.signal("SIGTERM");
    for (const answer of await Promise.all(waits)) {
      expect([answer.status, answer.headers.get("retry-after")]).toEqual([202, "1"]);
      expect(answer.headers.get("connection")).toBe("close");
    }
    // The waits are over before the message is.
    expect(chat.counts("stop").taken).toBe(0);
    expect(await stopping.exited()).toBe(0);
    expect(chat.counts("stop")).toEqual({ arrived: 1, taken: 1 });
    const ended = stopping.log().find(({ msg }) => String(msg).startsWith("message ended after"));
    expect(ended).toMatchObject({ level: "info", upstreamStatus: 201 });
    const answer = await sendPatiently(chat, two.url, "stop", 5);
    expect(answer).toMatchObject({ status: 201, text: answerTo("stop") });
    expect(answer.headers.get("idempotency-replayed")).toBe("true");
  });
});

describe("two hundred waits on fifty messages", { timeout: 120_000 }, () => {
  const MESSAGES = 50;
  const WAITS_EACH = 4;
  const ROUNDS = 2;

  test("are all answered, send each message once, and leave no place taken", async () => {
    const bff = await startTestBff(emulator.url, {
      ADMIN_PORT: "0",
      LIMIT_SESSION: "off",
      LIMIT_IP: "off",
      LIMIT_WORKSPACE: "off",
    });
    const { adminPort } = await bff.waitForLine(({ msg }) => msg === "listening");
    const readMetrics = async () =>
      (await fetch(`http://127.0.0.1:${String(adminPort)}/metrics`)).text();
    const chats = Array.from({ length: MESSAGES }, () => createTestChat(emulator));
    const wait = async (chat: TestChat, content: string): Promise<string> => {
      for (;;) {
        const answer = await sendMessage(bff.url, content, {
          subject: chat.subject,
          chatId: chat.chatId,
          headers: { "Idempotency-Key": content, Prefer: "respond-async, wait=1" },
        });
        const text = await answer.text();
        if (answer.status === 201) return text;
        expect(answer.status).toBe(202);
      }
    };
    try {
      for (const content of Array.from({ length: ROUNDS }, (_, round) => `round-${round}`)) {
        for (const chat of chats) chat.addFault({ delayMs: 2_500 });
        const all = chats.flatMap((chat) =>
          Array.from({ length: WAITS_EACH }, () => wait(chat, content)),
        );
        for (const text of await Promise.all(all)) expect(text).toBe(answerTo(content));
        for (const chat of chats) expect(chat.counts(content)).toEqual({ arrived: 1, taken: 1 });
        expect(readGauge(await readMetrics(), "bff_in_flight")).toBe(0);
      }
      const metrics = await readMetrics();
      const ended = (end: string) => readGauge(metrics, `bff_waits_total{end="${end}"}`);
      expect(ended("answer")).toBeGreaterThanOrEqual(MESSAGES * ROUNDS);
      expect(ended("time")).toBeGreaterThan(0);
    } finally {
      await bff.stop();
    }
  });
});
