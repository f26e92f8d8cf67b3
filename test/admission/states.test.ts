/**
 * What both states do when something went wrong under them: they lost what they knew, their clock was
 * set back, they were told twice, or nobody heard them.
 */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";

import type {
  AdmissionState,
  AdmitOutcome,
  Settlement,
  Ticket,
} from "../../src/admission/admission.ts";
import { createMemoryKeySpace } from "../../src/admission/key-space.ts";
import { createRulesState } from "../../src/admission/rules-state.ts";
import { chatKeys } from "../../src/admission/state-keys.ts";
import type { ChatId, WorkspaceId } from "../../src/branded.ts";
import { type RedisServer, startRedis } from "../support/redis-server.ts";
import {
  createMovableClock,
  createShiftedRedis,
  OWNER_TTL_MS,
  type ShiftedRedis,
} from "../support/state-fixtures.ts";

const HOUR_MS = 3_600_000;
const workspaceId = 42 as WorkspaceId;
const chatId = "chat-1" as ChatId;
const MARK = { count: 3, anchor: "three" };
const ANSWERED = { fate: "answered", answer: "m the answer", mark: MARK } as const;
const UNKNOWN = { fate: "unknown", code: "outcome_unknown", markBefore: undefined } as const;

type KeyName = keyof ReturnType<typeof chatKeys>;

/** A state that can be looked into, and whose time and values the test has in its hand. */
interface OpenState {
  readonly state: AdmissionState;
  /** Negative: the clock is set back. */
  moveMs(ms: number): Promise<void>;
  read(key: string): Promise<string | undefined>;
  lose(key: string): Promise<void>;
  /** How long a value has left, in milliseconds. */
  leftMs(key: string): Promise<number>;
  /** Lets a value age until it has so long left. */
  age(key: string, leftMs: number): Promise<void>;
}

let server: RedisServer;
let redis: ShiftedRedis;

beforeAll(async () => {
  server = await startRedis();
  redis = createShiftedRedis(server.url, "");
});
beforeEach(async () => {
  await redis.redis.flushdb();
});
afterAll(async () => {
  redis.close();
  await server.kill();
});

function openMemory(): OpenState {
  const clock = createMovableClock();
  const nowUs = () => clock.epochMs() * 1_000;
  const space = createMemoryKeySpace(nowUs);
  return {
    state: createRulesState(space, nowUs, OWNER_TTL_MS),
    moveMs: async (ms) => clock.advanceMs(ms),
    read: async (key) => space.read(key)?.text,
    lose: async (key) => space.delete(key),
    leftMs: async (key) => ((space.read(key)?.expiresAtUs ?? 0) - nowUs()) / 1_000,
    age: async (key, leftMs) => {
      space.write(key, space.read(key)?.text ?? "", nowUs() + leftMs * 1_000);
    },
  };
}

function openRedis(): OpenState {
  return {
    state: redis.state,
    moveMs: (ms) => redis.advanceUs(ms * 1_000),
    read: async (key) => (await redis.redis.get(key)) ?? undefined,
    lose: async (key) => void (await redis.redis.del(key)),
    leftMs: (key) => redis.redis.pttl(key),
    age: async (key, leftMs) => void (await redis.redis.pexpire(key, leftMs)),
  };
}

interface Use {
  readonly token: string;
  readonly words?: string;
  /** Undefined: no idempotency key. */
  readonly key?: string;
  readonly subject?: string;
}

const messageOf = ({ token, words = "words", key }: Use) => ({
  token,
  fingerprint: words,
  keyDigest: key,
});

function admit(state: AdmissionState, use: Use): Promise<AdmitOutcome> {
  return state.admit({
    workspaceId,
    subjectKey: use.subject ?? "alice",
    sessionKey: "session",
    issuedAtMs: 4_000_000_000_000,
    addressKey: "address",
    policies: [],
    chat: { chatId, access: "first-use", message: messageOf(use) },
  });
}

async function send(state: AdmissionState, use: Use): Promise<Ticket> {
  const outcome = await admit(state, use);
  if (outcome.kind !== "admitted") throw new Error(`not admitted but ${outcome.kind}`);
  return outcome.ticket;
}

/** A key's name for the message that is meant. */
function nameOf(name: KeyName, use: Use): string {
  const keys = chatKeys("", { workspaceId, chat: { chatId, message: messageOf(use) } });
  return keys[name] ?? "";
}

const keyed = { token: "t1", key: "key-1" };
const KEYS = ["owner", "tally", "lock", "doubt", "record"] as const;

describe.each([
  ["the in-process state", openMemory],
  ["Redis", openRedis],
])("%s", (_name, open) => {
  let it: OpenState;
  let state: AdmissionState;

  beforeEach(() => {
    it = open();
    ({ state } = it);
  });

  async function loseAll(use: Use): Promise<void> {
    for (const name of KEYS) await it.lose(nameOf(name, use));
  }

  describe("that lost everything while a message was under way", () => {
    test("knows its key again when it is settled: the answer is replayed", async () => {
      const ticket = await send(state, keyed);
      await loseAll(keyed);
      expect(await state.settle(ticket, ANSWERED)).toBe("lost");
      expect(await admit(state, { ...keyed, token: "t2" })).toMatchObject({
        kind: "replayed",
        answer: ANSWERED.answer,
      });
    });

    test("knows its key again when its outcome is unknown: it is never sent again", async () => {
      const ticket = await send(state, keyed);
      await loseAll(keyed);
      await state.settle(ticket, UNKNOWN);
      expect(await admit(state, { ...keyed, token: "t2" })).toMatchObject({
        kind: "unresolved",
        code: "outcome_unknown",
      });
    });

    test("knows its key and its chat's lock again when it is renewed", async () => {
      const ticket = await send(state, keyed);
      await loseAll(keyed);
      expect(await state.renew(ticket, MARK)).toBe("renewed");
      expect((await admit(state, { ...keyed, token: "t2" })).kind).toBe("key_in_progress");
      expect((await admit(state, { token: "t3", words: "others" })).kind).toBe("chat_busy");
      expect(await it.read(nameOf("record", keyed))).toContain(" 3:three ");
      expect(await state.settle(ticket, ANSWERED)).toBe("settled");
      expect((await admit(state, { ...keyed, token: "t4" })).kind).toBe("replayed");
    });

    test("forgets a message that was not taken", async () => {
      const ticket = await send(state, keyed);
      await loseAll(keyed);
      await state.settle(ticket, { fate: "not_taken", mark: undefined });
      expect(await it.read(nameOf("record", keyed))).toBeUndefined();
    });

    test("leaves its key to whom has taken it since", async () => {
      const first = await send(state, keyed);
      await loseAll(keyed);
      const second = await send(state, { ...keyed, token: "t2" });
      expect(await state.renew(first)).toBe("lost");
      expect(await state.settle(first, ANSWERED)).toBe("lost");
      expect((await admit(state, { ...keyed, token: "t3" })).kind).toBe("key_in_progress");
      expect(await state.settle(second, ANSWERED)).toBe("settled");
    });

    test("writes down nothing for one who only looks for an answer", async () => {
      await state.settle(await send(state, keyed), UNKNOWN);
      const seeking = await admit(state, { ...keyed, token: "t2" });
      if (seeking.kind !== "unresolved") throw new Error(seeking.kind);
      await loseAll(keyed);
      expect(await state.renew(seeking.ticket)).toBe("lost");
      const recovered = { fate: "recovered", answer: "m found", mark: MARK } as const;
      expect(await state.settle(seeking.ticket, recovered)).toBe("contested");
      expect(await it.read(nameOf("record", keyed))).toBeUndefined();
    });
  });

  describe("whose clock was set back by an hour", () => {
    test("keeps neither chat nor key of a sender that is gone", async () => {
      await send(state, keyed);
      await it.moveMs(-HOUR_MS);
      expect((await admit(state, { ...keyed, token: "t2" })).kind).toBe("unresolved");
      expect((await admit(state, { token: "t3", words: "others" })).kind).toBe("admitted");
    });

    test("keeps both for a sender that renews them", async () => {
      const ticket = await send(state, keyed);
      await it.moveMs(-HOUR_MS);
      expect(await state.renew(ticket)).toBe("renewed");
      expect((await admit(state, { ...keyed, token: "t2" })).kind).toBe("key_in_progress");
      expect((await admit(state, { token: "t3", words: "others" })).kind).toBe("chat_busy");
      expect(await state.settle(ticket, ANSWERED)).toBe("settled");
    });
  });

  test("remembers nothing of a chat that does not exist", async () => {
    const ticket = await send(state, keyed);
    for (const name of KEYS) expect(await it.read(nameOf(name, keyed))).toBeDefined();
    await state.settle(ticket, { fate: "not_taken", mark: undefined, absent: true });
    for (const name of KEYS) expect(await it.read(nameOf(name, keyed))).toBeUndefined();
  });

  test("remembers nothing of one either that it is told of twice", async () => {
    const ticket = await send(state, keyed);
    for (let times = 0; times < 2; times += 1) {
      await state.settle(ticket, { fate: "not_taken", mark: undefined, absent: true });
    }
    for (const name of KEYS) expect(await it.read(nameOf(name, keyed))).toBeUndefined();
  });

  test("remembers a chat that was there before", async () => {
    await state.settle(await send(state, { token: "t0" }), { ...ANSWERED, claim: "first-use" });
    const ticket = await send(state, keyed);
    await state.settle(ticket, { fate: "not_taken", mark: MARK, absent: true });
    expect(await it.read(nameOf("tally", keyed))).toBe("2 3:three 0");
    expect(await it.read(nameOf("owner", keyed))).toBe("f alice");
  });

  test("doubts no words for ever: those that are sent again do not prolong it", async () => {
    const doubt = nameOf("doubt", keyed);
    await state.settle(await send(state, keyed), UNKNOWN);
    await it.age(doubt, HOUR_MS);
    for (const settlement of [UNKNOWN, ANSWERED] satisfies Settlement[]) {
      const again = await send(state, { token: `again-${settlement.fate}` });
      expect(again.contested).toBe(true);
      await state.settle(again, settlement);
      expect(await it.leftMs(doubt)).toBeGreaterThan(0);
      expect(await it.leftMs(doubt)).toBeLessThanOrEqual(HOUR_MS);
    }
    await it.lose(doubt);
    expect((await send(state, { token: "later" })).contested).toBe(false);
  });

  test("keeps a key no longer for being repeated, looked for or renewed", async () => {
    const record = nameOf("record", keyed);
    const ticket = await send(state, keyed);
    await it.age(record, HOUR_MS);
    await state.renew(ticket, MARK);
    await state.settle(ticket, UNKNOWN);
    const seeking = await admit(state, { ...keyed, token: "t2" });
    if (seeking.kind !== "unresolved") throw new Error(seeking.kind);
    await state.renew(seeking.ticket);
    await state.settle(seeking.ticket, UNKNOWN);
    expect(await it.read(record)).toContain(" t1 t2 0 3:three outcome_unknown");
    expect(await it.leftMs(record)).toBeGreaterThan(0);
    expect(await it.leftMs(record)).toBeLessThanOrEqual(HOUR_MS);
  });

  describe("that is told of a message whose lock is gone, and of none since", () => {
    const settlement = { ...ANSWERED, claim: "first-use" } as const;

    test("has been told twice: it counts anew, and is in no doubt", async () => {
      const ticket = await send(state, { token: "t1" });
      expect(await state.settle(ticket, settlement)).toBe("settled");
      expect(await state.settle(ticket, settlement)).toBe("lost");
      expect(await it.read(nameOf("tally", keyed))).toBe("1 - 0");
    });

    test("or has lost it and counted another in its place: that count is good no more", async () => {
      const forgotten = await send(state, { token: "t1" });
      await loseAll({ token: "t1" });
      await state.settle(await send(state, { token: "t2", words: "others" }), settlement);
      expect(await it.read(nameOf("tally", keyed))).toBe("1 3:three 0");
      await state.settle(forgotten, { ...ANSWERED, mark: { count: 3, anchor: "other" } });
      expect((await send(state, { token: "t3" })).mark).toBeUndefined();
    });

    test("doubts every count if nobody knows what became of it", async () => {
      const forgotten = await send(state, { token: "t1" });
      await loseAll({ token: "t1" });
      await state.settle(await send(state, { token: "t2", words: "others" }), settlement);
      await state.settle(forgotten, UNKNOWN);
      expect(await it.read(nameOf("tally", keyed))).toMatch(/^1 - [1-9]\d+$/);
    });
  });

  describe("a claim that nobody confirmed", () => {
    test("is claimed anew by each use, keeps others out and tells them that it is none", async () => {
      await send(state, keyed);
      await it.moveMs(15_000);
      const second = await send(state, { token: "t2", words: "others" });
      expect(second.newlyClaimed).toBe(true);
      const other = await admit(state, { token: "t3", subject: "bob" });
      expect(other).toMatchObject({ kind: "denied", unowned: true });
      await state.settle(second, { ...ANSWERED, claim: "first-use" });
      expect((await send(state, { token: "t4" })).newlyClaimed).toBe(false);
      const later = await admit(state, { token: "t5", subject: "bob" });
      expect(later).toMatchObject({ kind: "denied", unowned: false });
    });

    test("lives for an hour at most", async () => {
      await send(state, keyed);
      expect(await it.leftMs(nameOf("owner", keyed))).toBeLessThanOrEqual(HOUR_MS);
    });

    test("is given up with its request", async () => {
      await state.settle(await send(state, keyed), { fate: "not_taken", mark: undefined });
      expect(await it.read(nameOf("owner", keyed))).toBeUndefined();
    });

    test("is not given up by one who only read while a message is under way", async () => {
      const ticket = await send(state, keyed);
      const { request } = ticket;
      const reading = await state.admit({ ...request, chat: { chatId, access: "first-use" } });
      if (reading.kind !== "admitted") throw new Error(reading.kind);
      await state.settle(reading.ticket, { fate: "not_taken", mark: undefined });
      expect((await admit(state, { token: "t2", subject: "bob" })).kind).toBe("denied");
      await state.settle(ticket, { fate: "not_taken", mark: undefined });
      expect((await admit(state, { token: "t2", subject: "bob" })).kind).toBe("admitted");
    });

    test("yields to the stamp", async () => {
      const ticket = await send(state, keyed);
      const ownership = { workspaceId, subjectKey: "bob", chatId, mark: undefined };
      expect(await state.own({ ...ownership, stamped: true })).toBe("owned");
      // Confirmed too late, it is nobody's.
      await state.settle(ticket, { ...ANSWERED, claim: "first-use" });
      expect(await it.read(nameOf("owner", keyed))).toBe("s bob");
      expect((await admit(state, { ...keyed, token: "t2" })).kind).toBe("denied");
    });

    test("of a chat that was used first yields to the stamp alone, one that was started to none", async () => {
      await state.settle(await send(state, keyed), { ...ANSWERED, claim: "first-use" });
      const ownership = { workspaceId, subjectKey: "bob", chatId, mark: undefined };
      expect(await state.own({ ...ownership, stamped: false })).toBe("refused");
      expect(await state.own({ ...ownership, stamped: true })).toBe("owned");
      const other = { ...ownership, subjectKey: "carol", stamped: true };
      expect(await state.own(other)).toBe("refused");
    });
  });
});

/** The state hears that its connection broke, and then that there is another. */
async function reconnect(): Promise<void> {
  redis.loseReplies(undefined);
  await new Promise(setImmediate);
  redis.becomeReady();
}

describe("Redis, where a reply was lost with its connection", () => {
  test("takes an admission back, and its claim is looked at again", async () => {
    redis.loseReplies("bffAdmit");
    expect((await admit(redis.state, keyed)).kind).toBe("unavailable");
    await reconnect();
    const again = await send(redis.state, { ...keyed, token: "t2" });
    expect(again).toMatchObject({ newlyClaimed: true, contested: false });
  });

  test("takes it back also when another message holds the chat by then: its key is free", async () => {
    redis.loseReplies("bffAdmit");
    expect((await admit(redis.state, keyed)).kind).toBe("unavailable");
    redis.loseReplies(undefined);
    await redis.advanceUs(15_000_000);
    const other = await send(redis.state, { token: "t2", words: "others" });
    await reconnect();
    // The other's lock is left alone.
    expect((await admit(redis.state, keyed)).kind).toBe("chat_busy");
    expect(await redis.state.settle(other, ANSWERED)).toBe("settled");
    expect(await send(redis.state, keyed)).toMatchObject({ contested: false });
  });

  test("settles a second time, and keeps no doubt of it", async () => {
    const ticket = await send(redis.state, keyed);
    redis.loseReplies("bffSettle");
    expect(await redis.state.settle(ticket, ANSWERED)).toBe("unavailable");
    await reconnect();
    // Whatever the state does next comes after it, on the same connection.
    expect(await redis.redis.get(nameOf("tally", keyed))).toBe("1 - 0");
  });
});
