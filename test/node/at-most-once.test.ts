/**
 * Messages with an idempotency key over real processes and faults: each is taken at most once, and
 * a repeat with its key tells its disposition. Each test has its own chat and subject.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";

import type { Fault } from "../../src/emulator/faults.ts";
import { type RunningEmulator, startEmulator } from "../../src/emulator/listen.ts";
import { startTestBff, startTestEmulator, UPSTREAM_TOKEN } from "../support/bff-fixture.ts";
import type { BffProcess } from "../support/bff-process.ts";
import { createTestChat, tell, type TestChat, type Told } from "../support/chat-fixture.ts";
import { findFreePort } from "../support/ports.ts";
import { type RedisServer, startRedis } from "../support/redis-server.ts";

const UPSTREAM_TIMEOUT_MS = 1_500;
const RECOVERY_WINDOW_MS = 2_000;
/** How long a chat and a key stay locked after their instance has died, by contract. */
const LEASE_MS = 15_000;
/** Tolerance for polling and a busy machine, in milliseconds. */
const SLACK_MS = 3_000;

let emulator: RunningEmulator;
let redis: RedisServer;
let one: BffProcess;
let two: BffProcess;

beforeAll(async () => {
  [emulator, redis] = await Promise.all([startTestEmulator(), startRedis()]);
  const impatient = {
    UPSTREAM_TIMEOUT: `${UPSTREAM_TIMEOUT_MS}ms`,
    RECOVERY_WINDOW: `${RECOVERY_WINDOW_MS}ms`,
  };
  [one, two] = await Promise.all([startInstance(impatient), startInstance(impatient)]);
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

const once = { arrived: 1, taken: 1 };

// The longest tests first, so that the others run at the same time.
describe.concurrent("a lease", { timeout: 60_000 }, () => {
  test("of an instance that is killed in mid-message frees chat and key, and another tells the truth", async () => {
    const chat = createTestChat(emulator);
    const overtaken = createTestChat(emulator);
    const victim = await startInstance();
    const cut = [chat, overtaken].map((each) => {
      each.addFault({ kind: "taken-then-delay", delayMs: 60_000 });
      return each.send(victim.url, "orphan", { key: "k" }).catch((error: unknown) => error);
    });
    await expect
      .poll(() => [chat, overtaken].map((each) => each.counts("orphan").taken))
      .toEqual([1, 1]);
    const killedAtMs = performance.now();
    victim.signal("SIGKILL");
    for (const each of cut) expect(await each).toBeInstanceOf(Error);

    expect(await sendNext(chat, two.url)).toMatchObject({ status: 409, code: "chat_busy" });
    const early = await sendOrphan(chat, two.url);
    expect(early).toMatchObject({ status: 409, code: "request_in_progress" });

    const recovered = { status: 201, recovered: true, text: answerTo("orphan") };
    const sent = { status: 201, recovered: false, replayed: false, text: answerTo("next") };
    const [found, other] = await Promise.all([
      untilFree(() => sendOrphan(chat, two.url)),
      untilFree(() => sendNext(overtaken, two.url)),
    ]);
    expect(performance.now() - killedAtMs).toBeLessThan(LEASE_MS + SLACK_MS);
    expect(found).toMatchObject(recovered);
    expect(await sendOrphan(chat, one.url)).toMatchObject({ status: 201, replayed: true });
    expect(await sendNext(chat, one.url)).toMatchObject(sent);
    // Other messages in between change nothing.
    expect(other).toMatchObject(sent);
    expect(await sendOrphan(overtaken, one.url)).toMatchObject(recovered);
    for (const each of [chat, overtaken]) {
      expect(each.counts("orphan")).toEqual(once);
      expect(each.counts("next")).toEqual(once);
    }
  });

  test("is kept for as long as the message takes", async () => {
    const chat = createTestChat(emulator);
    const instance = await startInstance();
    try {
      const delayMs = LEASE_MS + SLACK_MS;
      chat.addFault({ delayMs });
      const startedAtMs = performance.now();
      const slow = tell(chat.send(instance.url, "slow", { key: "k" }));
      await expect.poll(() => chat.counts("slow").arrived).toBe(1);
      const again = await untilFree(() => tell(chat.send(two.url, "slow", { key: "k" })));
      expect(performance.now() - startedAtMs).toBeGreaterThanOrEqual(delayMs);
      expect(again).toMatchObject({ status: 201, recovered: false, replayed: true });
      expect(await slow).toMatchObject({ status: 201, recovered: false, replayed: false });
      expect(chat.counts("slow")).toEqual(once);
    } finally {
      await instance.stop();
    }
  });
});

describe.concurrent("an answer that was lost", () => {
  const faults: Readonly<Record<string, Fault>> = {
    "a connection that was reset": { kind: "reset-after" },
    "a time-out": { kind: "taken-then-delay", delayMs: 60_000 },
    "a time-out, while the message was still on its way": { delayMs: UPSTREAM_TIMEOUT_MS + 700 },
    "an answer that came too slowly": { kind: "drip", everyMs: 200 },
    "a 500": { kind: "taken-then-status", status: 500 },
    "a 503 that names no time": { kind: "taken-then-status", status: 503 },
    "an answer that is no JSON": { kind: "garbage" },
    "an answer of another shape": { kind: "body", body: '{"messages":7}' },
    "an answer that is too large": { kind: "huge" },
  };

  test.each(Object.entries(faults))(
    "to %s is recovered from the transcript",
    async (name, fault) => {
      const chat = createTestChat(emulator);
      chat.addFault(fault);
      const content = `over ${name}`;
      const requestId = `found-${chat.chatId}`;
      const found = await tell(chat.send(one.url, content, { key: "k", requestId }));
      expect(found).toMatchObject({ status: 201, recovered: true, replayed: false });
      expect(found.text).toBe(answerTo(content));
      const line = await one.waitForLine(({ reqId }) => reqId === requestId);
      expect(line).toMatchObject({ status: 201, recovered: true });
      expect(line).not.toHaveProperty("replayed");

      const again = `again-${chat.chatId}`;
      const replayed = await tell(chat.send(two.url, content, { key: "k", requestId: again }));
      expect(replayed).toMatchObject({ status: 201, recovered: false, replayed: true });
      expect(replayed.text).toBe(found.text);
      const replayLine = await two.waitForLine(({ reqId }) => reqId === again);
      expect(replayLine).toMatchObject({ status: 201, replayed: true });
      expect(replayLine).not.toHaveProperty("upstreamMs");
      expect(chat.counts(content)).toEqual(once);
      // The chat accepts the next message.
      expect(await tell(chat.send(two.url, "next"))).toMatchObject({
        status: 201,
        code: undefined,
      });
    },
  );

  test("is recovered although reading the chat is slow and fails at first", async () => {
    const chat = createTestChat(emulator);
    await chat.send(one.url, "makes the count known", { key: "first" });
    chat.addFault({ kind: "reset-after" });
    chat.addFault({ kind: "status", status: 500 }, { operation: "get" });
    chat.addFault({ delayMs: 700 }, { operation: "get" });
    const found = await tell(chat.send(one.url, "slowly", { key: "k" }));
    expect(found).toMatchObject({ status: 201, recovered: true, text: answerTo("slowly") });
    expect(chat.counts("slowly")).toEqual(once);
  });

  test("that arrives after the recovery window is recovered by the key's next call", async () => {
    const chat = createTestChat(emulator);
    chat.addFault({ delayMs: UPSTREAM_TIMEOUT_MS + RECOVERY_WINDOW_MS + 700 });
    const late = await tell(chat.send(one.url, "late", { key: "k" }));
    expect(late).toMatchObject({ status: 504, code: "outcome_unknown" });
    expect(chat.counts("late")).toEqual({ arrived: 1, taken: 0 });
    const found = await tell(chat.send(two.url, "late", { key: "k" }));
    expect(found).toMatchObject({ status: 201, recovered: true, text: answerTo("late") });
    expect(await tell(chat.send(one.url, "late", { key: "k" }))).toMatchObject({ replayed: true });
    expect(chat.counts("late")).toEqual(once);
  });

  test("is not searched for a message without a key", async () => {
    const chat = createTestChat(emulator);
    chat.addFault({ kind: "taken-then-status", status: 500 });
    const failed = await tell(chat.send(one.url, "no key"));
    expect(failed).toMatchObject({ status: 502, code: "upstream_error", recovered: false });
    expect(chat.reads()).toBe(0);
    expect(chat.counts("no key")).toEqual(once);
  });

  const unreadable: readonly [Fault, number, string][] = [
    [{ kind: "taken-then-status", status: 500 }, 502, "upstream_error"],
    [{ kind: "garbage" }, 502, "upstream_malformed"],
    [{ kind: "taken-then-delay", delayMs: 60_000 }, 504, "upstream_timeout"],
    [{ kind: "reset-after" }, 504, "outcome_unknown"],
  ];

  describe.each([
    ["of known length", true],
    ["of unknown length", false],
  ])("in a chat %s that cannot be read", (_name, known) => {
    test.each(unreadable)(
      "after %j is %i %s, and never sent again",
      async (fault, status, code) => {
        const chat = createTestChat(emulator);
        if (known) await chat.send(one.url, "makes the count known", { key: "first" });
        chat.addFault(fault);
        chat.addFault({ kind: "status", status: 500 }, { operation: "get", times: 20 });
        const content = `unreadable ${code}`;
        const failed = await tell(chat.send(one.url, content, { key: "k" }));
        expect(failed).toMatchObject({ status, code });
        await chat.endReadFaults();
        const again = await tell(chat.send(two.url, content, { key: "k" }));
        // Only if the position of the answer in the transcript was known.
        if (known) expect(again).toMatchObject({ status: 201, recovered: true });
        else expect(again).toMatchObject({ status: 504, code: "outcome_unknown" });
        expect(chat.counts(content)).toEqual(once);
      },
    );
  });
});

describe.concurrent("a message that UponAI did not take", () => {
  test("and may have arrived is never sent again, by any instance", async () => {
    const chat = createTestChat(emulator);
    chat.addFault({ kind: "reset-before" });
    for (const { url } of [one, two, one]) {
      const readsBefore = chat.reads();
      const answer = await tell(chat.send(url, "gone", { key: "k" }));
      expect(answer).toMatchObject({ status: 504, code: "outcome_unknown", replayed: false });
      // Each repeat read the transcript again.
      expect(chat.reads()).toBeGreaterThan(readsBefore);
      expect(chat.counts("gone")).toEqual({ arrived: 1, taken: 0 });
    }
    expect((await chat.send(one.url, "something else", { key: "l" })).status).toBe(201);
    expect(await tell(chat.send(two.url, "gone", { key: "k" }))).toMatchObject({ status: 504 });
    expect(chat.counts("gone")).toEqual({ arrived: 1, taken: 0 });
  });

  test.each([
    ["429", { kind: "status", status: 429 }, 503, "upstream_busy"],
    [
      "503 with Retry-After",
      { kind: "status", status: 503, retryAfter: "2" },
      503,
      "upstream_busy",
    ],
    ["401", { kind: "status", status: 401 }, 502, "upstream_auth_failed"],
    ["404", { kind: "status", status: 404 }, 404, "chat_not_found"],
  ] as const)(
    "and said so with %s is sent by the next call",
    async (_name, fault, status, code) => {
      const chat = createTestChat(emulator);
      chat.addFault(fault);
      expect(await tell(chat.send(one.url, "hi", { key: "k" }))).toMatchObject({ status, code });
      const sent = await tell(chat.send(two.url, "hi", { key: "k" }));
      expect(sent).toMatchObject({ status: 201, recovered: false, replayed: false });
      expect(chat.counts("hi")).toEqual({ arrived: 2, taken: 1 });
    },
  );

  test.each([
    ["400", 400, 422, "message_rejected"],
    ["410", 410, 409, "chat_ended"],
  ] as const)("and refused with %s is remembered so", async (_name, refusal, status, code) => {
    const chat = createTestChat(emulator);
    chat.addFault({ kind: "status", status: refusal });
    const refused = await tell(chat.send(one.url, "hi", { key: "k", requestId: "one" }));
    expect(refused).toMatchObject({ status, code, replayed: false });
    const again = await tell(chat.send(two.url, "hi", { key: "k", requestId: "two" }));
    expect(again).toMatchObject({ status, code, replayed: true });
    expect(again.text).toBe(refused.text.replace('"one"', '"two"'));
    expect(chat.counts("hi")).toEqual({ arrived: 1, taken: 0 });
  });

  test("since no server listened is sent by the next call, once a server listens", async () => {
    const port = await findFreePort();
    const early = await startTestBff(`http://127.0.0.1:${port}`, { REDIS_URL: redis.url });
    const chat = createTestChat(emulator);
    try {
      const requestId = "nobody-there";
      const refused = await tell(chat.send(early.url, "hi", { key: "k", requestId }));
      expect(refused).toMatchObject({ status: 502, code: "upstream_unreachable" });
      const line = await early.waitForLine(({ reqId }) => reqId === requestId);
      expect(line).toMatchObject({ retries: 1 });
      const later = await startEmulator({
        port,
        tokens: { [UPSTREAM_TOKEN]: [42] },
        chats: [{ chatId: chat.chatId, workspaceId: 42 }],
      });
      try {
        const sent = await tell(chat.send(early.url, "hi", { key: "k" }));
        expect(sent).toMatchObject({ status: 201, recovered: false, replayed: false });
        expect(later.messages()).toEqual([expect.objectContaining(once)]);
      } finally {
        await later.close();
      }
    } finally {
      await early.stop();
    }
  });
});

describe.concurrent("a key", () => {
  test("that comes twenty times at once, over two instances, sends once", async () => {
    const chat = createTestChat(emulator);
    chat.addFault({ delayMs: 700 });
    const send = (index: number) =>
      chat.send(index % 2 === 0 ? one.url : two.url, "twenty", { key: "k" });
    const answers = await Promise.all(Array.from({ length: 20 }, (_, index) => send(index)));
    expect(answers.filter(({ status }) => status === 201)).toHaveLength(1);
    for (const answer of answers.filter(({ status }) => status !== 201)) {
      expect(answer.headers.get("retry-after")).toBe("1");
      expect(await tell(answer)).toMatchObject({ status: 409, code: "request_in_progress" });
    }
    const replays = await Promise.all(Array.from({ length: 20 }, (_, index) => tell(send(index))));
    for (const replay of replays) {
      expect(replay).toMatchObject({ status: 201, replayed: true, text: answerTo("twenty") });
    }
    expect(chat.counts("twenty")).toEqual(once);
  });

  test("with other content is refused, in flight and afterwards", async () => {
    const chat = createTestChat(emulator);
    chat.addFault({ delayMs: 500 });
    const first = tell(chat.send(one.url, "these words", { key: "k" }));
    await expect.poll(() => chat.counts("these words").arrived).toBe(1);
    const reused = { status: 422, code: "idempotency_key_reused" };
    expect(await tell(chat.send(two.url, "others", { key: "k" }))).toMatchObject(reused);
    expect((await first).status).toBe(201);
    expect(await tell(chat.send(two.url, "others", { key: "k" }))).toMatchObject(reused);
    expect(chat.counts("others").arrived).toBe(0);
  });

  test("outlives the instance that answered it", async () => {
    const chat = createTestChat(emulator);
    const first = await startInstance();
    const given = await tell(chat.send(first.url, "kept", { key: "k" }));
    expect(await first.stop()).toBe(0);
    const next = await startInstance();
    try {
      const again = await tell(chat.send(next.url, "kept", { key: "k" }));
      expect(again).toMatchObject({ status: 201, replayed: true, text: given.text });
      expect(chat.counts("kept")).toEqual(once);
    } finally {
      await next.stop();
    }
  });

  test("keeps the answer for a client that hung up", async () => {
    const chat = createTestChat(emulator);
    chat.addFault({ delayMs: 500 });
    const leaving = new AbortController();
    const { signal } = leaving;
    const gone = chat.send(one.url, "I leave", { key: "k", requestId: "hung-up", signal });
    await expect.poll(() => chat.counts("I leave").arrived).toBe(1);
    leaving.abort();
    await expect(gone).rejects.toThrow("abort");
    const line = await one.waitForLine(({ reqId }) => reqId === "hung-up");
    expect(line).toMatchObject({ status: 201 });
    const back = await tell(chat.send(two.url, "I leave", { key: "k" }));
    expect(back).toMatchObject({ status: 201, replayed: true, text: answerTo("I leave") });
    expect(chat.counts("I leave")).toEqual(once);
  });
});

describe.concurrent("a search for a lost answer", () => {
  /** Longer than all bounds of these tests. */
  const patient = { UPSTREAM_TIMEOUT: "500ms", RECOVERY_WINDOW: "60s" };
  /** The longest delay between two reads of the transcript is 4 s. */
  const END_MS = 4_000 + SLACK_MS;

  test("ends when its client hangs up, and the next call with the key recovers again", async () => {
    const chat = createTestChat(emulator);
    const instance = await startInstance(patient);
    try {
      chat.addFault({ delayMs: 5_000 });
      const leaving = new AbortController();
      const { signal } = leaving;
      const sending = chat.send(instance.url, "bye", { key: "k", requestId: "left", signal });
      // One read before the message, and the first reads after it.
      await expect.poll(() => chat.reads()).toBeGreaterThanOrEqual(3);
      const leftAtMs = performance.now();
      leaving.abort();
      await expect(sending).rejects.toThrow("abort");
      const line = await instance.waitForLine(({ reqId }) => reqId === "left");
      expect(performance.now() - leftAtMs).toBeLessThan(END_MS);
      expect(line).toMatchObject({ status: 504, code: "outcome_unknown" });
      const found = await tell(chat.send(instance.url, "bye", { key: "k" }));
      expect(found).toMatchObject({ status: 201, recovered: true });
      expect(chat.counts("bye")).toEqual(once);
    } finally {
      await instance.stop();
    }
  });

  test("ends when its instance stops, and the next instance answers the key", async () => {
    const chat = createTestChat(emulator);
    const stopping = await startInstance(patient);
    chat.addFault({ delayMs: 5_000 });
    const sending = tell(chat.send(stopping.url, "stop", { key: "k" }));
    await expect.poll(() => chat.reads()).toBeGreaterThanOrEqual(3);
    const stoppedAtMs = performance.now();
    stopping.signal("SIGTERM");
    expect(await sending).toMatchObject({ status: 504, code: "outcome_unknown" });
    expect(await stopping.exited()).toBe(0);
    expect(performance.now() - stoppedAtMs).toBeLessThan(END_MS);
    const next = await startInstance(patient);
    try {
      const found = await tell(chat.send(next.url, "stop", { key: "k" }));
      expect(found).toMatchObject({ status: 201, recovered: true });
      expect(chat.counts("stop")).toEqual(once);
    } finally {
      await next.stop();
    }
  });
});

function sendOrphan(chat: TestChat, url: string): Promise<Told> {
  return tell(chat.send(url, "orphan", { key: "k" }));
}

function sendNext(chat: TestChat, url: string): Promise<Told> {
  return tell(chat.send(url, "next", { key: "n" }));
}

/** The first answer that does not ask to repeat the request later. */
async function untilFree(ask: () => Promise<Told>): Promise<Told> {
  let answer: Told | undefined;
  await expect
    .poll(
      async () => {
        answer = await ask();
        return answer.status;
      },
      { timeout: LEASE_MS + 10_000, interval: 200 },
    )
    .not.toBe(409);
  if (answer === undefined) throw new Error("nothing was asked");
  return answer;
}
