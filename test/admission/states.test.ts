/**
 * Faults of the in-process state and of Redis: lost records, a clock that is set back, repeated
 * calls, and lost replies.
 */
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from "vitest";

import type {
  Admission,
  AdmissionState,
  AdmitOutcome,
  AdmitRequest,
  Settlement,
} from "../../src/admission/admission.ts";
import { createMemoryKeySpace } from "../../src/admission/key-space.ts";
import {
  compilePolicies,
  compilePolicy,
  compileReplayPolicies,
} from "../../src/admission/limit-policy.ts";
import { createRulesState } from "../../src/admission/rules-state.ts";
import { type ChatRecord, parseChat, UNRESOLVED_MAX } from "../../src/admission/records.ts";
import { chatKey, idempotencyKey } from "../../src/admission/state-keys.ts";
import { STORED_WINDOW_US } from "../../src/admission/state-settings.ts";
import type { ChatId, WorkspaceId } from "../../src/branded.ts";
import type { QuotaSetting } from "../../src/config/units.ts";
import { type RedisServer, startRedis } from "../support/redis-server.ts";
import {
  createMovableClock,
  createShiftedRedis,
  SETTINGS,
  type ShiftedRedis,
} from "../support/state-fixtures.ts";

const HOUR_MS = 3_600_000;
const workspaceId = 42 as WorkspaceId;
const SESSION = {
  workspaceId,
  subjectKey: "alice",
  sessionKey: "session",
  issuedAtMs: 4_000_000_000_000,
};
const chatId = "chat-1" as ChatId;
const STATE = { count: 3, digest: "three" };
const ANSWERED = {
  disposition: "taken",
  source: "reply",
  answer: "m the answer",
  stateBefore: undefined,
  stateAfter: STATE,
} as const;
const RECOVERED = { ...ANSWERED, source: "transcript", answer: "m found" } as const;
const UNKNOWN = {
  disposition: "unknown",
  code: "outcome_unknown",
  stateBefore: undefined,
} as const;
const NOT_TAKEN = { disposition: "not_taken", stateAfter: undefined } as const;

/** A state whose clock and records the test can read and change. */
interface OpenState {
  readonly state: AdmissionState;
  /** Moves the clock; a negative value sets it back. */
  moveMs(ms: number): Promise<void>;
  read(key: string): Promise<string | undefined>;
  lose(key: string): Promise<void>;
  /** Returns the present record of the chat. */
  chat(): Promise<ChatRecord>;
  withdraw(request: AdmitRequest, heard: boolean): Promise<void>;
  /** Returns the remaining life of a record, in milliseconds. */
  leftMs(key: string): Promise<number>;
  /** Ages a record until its remaining life is the given time. */
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

function openMemory(settings = SETTINGS): OpenState {
  const clock = createMovableClock();
  const nowUs = () => clock.epochMs() * 1_000;
  const space = createMemoryKeySpace(nowUs);
  const state = createRulesState(space, nowUs, settings);
  return {
    state,
    withdraw: (request, heard) => state.withdraw(request, heard),
    moveMs: async (ms) => clock.advanceMs(ms),
    read: async (key) => space.read(key)?.text,
    lose: async (key) => space.delete(key),
    chat: async () => parseChat(space.read(CHAT)?.text, nowUs()),
    leftMs: async (key) => ((space.read(key)?.expiresAtUs ?? 0) - nowUs()) / 1_000,
    age: async (key, leftMs) => {
      space.write(key, space.read(key)?.text ?? "", nowUs() + leftMs * 1_000);
    },
  };
}

function openRedis(settings = SETTINGS): OpenState {
  const shifted = settings === SETTINGS ? redis : createShiftedRedis(server.url, "", settings);
  if (shifted !== redis) onTestFinished(() => shifted.close());
  return {
    state: shifted.state,
    withdraw: (request, heard) => shifted.withdraw(request, heard),
    moveMs: (ms) => shifted.advanceUs(ms * 1_000),
    read: async (key) => (await shifted.redis.get(key)) ?? undefined,
    lose: async (key) => void (await shifted.redis.del(key)),
    chat: async () => {
      // Reads the time that the scripts see.
      await shifted.state.checkSession(SESSION);
      return parseChat((await shifted.redis.get(CHAT)) ?? undefined, shifted.lastNowUs());
    },
    leftMs: (key) => shifted.redis.pttl(key),
    age: async (key, leftMs) => void (await shifted.redis.pexpire(key, leftMs)),
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
    ...SESSION,
    subjectKey: use.subject ?? "alice",
    addressKey: "address",
    policies: [],
    replays: undefined,
    chat: { chatId, access: "first-use", message: messageOf(use) },
  });
}

async function send(state: AdmissionState, use: Use): Promise<Admission> {
  const outcome = await admit(state, use);
  if (outcome.kind !== "admitted") throw new Error(`not admitted but ${outcome.kind}`);
  return outcome.admission;
}

const keyed = { token: "t1", key: "key-1" };
const CHAT = chatKey("", workspaceId, chatId);
const KEY = idempotencyKey("", workspaceId, "key-1");

describe.each([
  ["the in-process state", openMemory],
  ["Redis", openRedis],
])("%s", (_name, open) => {
  let opened: OpenState;
  let state: AdmissionState;

  beforeEach(() => {
    opened = open();
    ({ state } = opened);
  });

  async function loseAll(): Promise<void> {
    for (const key of [CHAT, KEY]) await opened.lose(key);
  }

  describe("that lost all records while a message was in progress", () => {
    test("knows its key again when it is settled: the answer is replayed", async () => {
      const admission = await send(state, keyed);
      await loseAll();
      expect(await state.settle(admission, ANSWERED)).toBe("lost");
      expect(await admit(state, { ...keyed, token: "t2" })).toMatchObject({
        kind: "replayed",
        answer: ANSWERED.answer,
      });
    });

    test("still knows its key if its outcome is unknown: it is never sent again", async () => {
      const admission = await send(state, keyed);
      await loseAll();
      await state.settle(admission, UNKNOWN);
      expect(await admit(state, { ...keyed, token: "t2" })).toMatchObject({
        kind: "unresolved",
        code: "outcome_unknown",
      });
    });

    test("knows its key and its chat's lock again when it is renewed", async () => {
      const admission = await send(state, keyed);
      await loseAll();
      expect(await state.renew(admission, STATE)).toBe("renewed");
      expect((await admit(state, { ...keyed, token: "t2" })).kind).toBe("key_in_progress");
      expect((await admit(state, { token: "t3", words: "others" })).kind).toBe("chat_busy");
      expect(await opened.read(KEY)).toContain(" 3:three ");
      expect(await state.settle(admission, ANSWERED)).toBe("settled");
      expect((await admit(state, { ...keyed, token: "t4" })).kind).toBe("replayed");
    });

    test("forgets a message that was not taken", async () => {
      const admission = await send(state, keyed);
      await loseAll();
      await state.settle(admission, NOT_TAKEN);
      expect(await opened.read(KEY)).toBeUndefined();
    });

    test("leaves its key to whom has taken it since", async () => {
      const first = await send(state, keyed);
      await loseAll();
      const second = await send(state, { ...keyed, token: "t2" });
      expect(await state.renew(first)).toBe("lost");
      expect(await state.settle(first, ANSWERED)).toBe("lost");
      expect((await admit(state, { ...keyed, token: "t3" })).kind).toBe("key_in_progress");
      expect(await state.settle(second, ANSWERED)).toBe("settled");
    });

    test("writes nothing for a request that only looks for an answer", async () => {
      await state.settle(await send(state, keyed), UNKNOWN);
      const recovering = await admit(state, { ...keyed, token: "t2" });
      if (recovering.kind !== "unresolved") throw new Error(recovering.kind);
      await loseAll();
      expect(await state.renew(recovering.admission)).toBe("lost");
      expect(await state.settle(recovering.admission, RECOVERED)).toBe("contested");
      expect(await opened.read(KEY)).toBeUndefined();
    });
  });

  describe("whose clock was set back by an hour", () => {
    test("keeps neither the chat nor the key of a crashed sender locked", async () => {
      await send(state, keyed);
      await opened.moveMs(-HOUR_MS);
      expect((await admit(state, { ...keyed, token: "t2" })).kind).toBe("unresolved");
      expect((await admit(state, { token: "t3", words: "others" })).kind).toBe("admitted");
    });

    test("keeps both for a sender that renews them", async () => {
      const admission = await send(state, keyed);
      await opened.moveMs(-HOUR_MS);
      expect(await state.renew(admission)).toBe("renewed");
      expect((await admit(state, { ...keyed, token: "t2" })).kind).toBe("key_in_progress");
      expect((await admit(state, { token: "t3", words: "others" })).kind).toBe("chat_busy");
      expect(await state.settle(admission, ANSWERED)).toBe("settled");
    });
  });

  describe("with a limit that was changed from 5 a day to 60 a minute", () => {
    const old = { quota: 5, windowSeconds: 86_400, burst: 5 };
    const changed = { quota: 60, windowSeconds: 60, burst: 60 };

    test("refuses for no longer than the new limit does", async () => {
      const asked = {
        ...SESSION,
        addressKey: "address",
        policies: limitSessions(old),
        replays: undefined,
        chat: undefined,
      };
      for (let times = 0; times < 5; times += 1) await state.admit(asked);
      expect((await state.admit(asked)).kind).toBe("limited");
      const policies = limitSessions(changed);
      const admitNew = async () => (await state.admit({ ...asked, policies })).kind;
      expect(await admitNew()).toBe("limited");
      await opened.moveMs(1_100);
      expect(await admitNew()).toBe("admitted");
      await opened.moveMs(60_000);
      for (let times = 0; times < 60; times += 1) expect(await admitNew()).toBe("admitted");
    });

    test("does so for wrong credentials, too", async () => {
      const day = compilePolicy("auth-failures", old);
      const minute = compilePolicy("auth-failures", changed);
      if (day === undefined || minute === undefined) throw new Error("the policies are on");
      for (let times = 0; times < 5; times += 1) await state.countAuthFailure("address", day);
      expect((await state.countAuthFailure("address", minute)).kind).toBe("limited");
      await opened.moveMs(1_100);
      expect((await state.countAuthFailure("address", minute)).kind).toBe("counted");
    });

    test("does so for replays, too", async () => {
      await state.settle(await send(state, keyed), { ...ANSWERED, owner: "first-use" });
      const replay = async (windowSeconds: number) => {
        const chat = { chatId, access: "first-use", message: messageOf(keyed) } as const;
        const replays = compileReplayPolicies({ quota: 5, windowSeconds, burst: 5 });
        const asked = { ...SESSION, addressKey: "address", policies: [], replays, chat };
        return (await state.admit(asked)).kind;
      };
      for (let times = 0; times < 5; times += 1) expect(await replay(86_400)).toBe("replayed");
      expect(await replay(5)).toBe("limited");
      await opened.moveMs(1_100);
      expect(await replay(5)).toBe("replayed");
    });
  });

  describe("of a message that was not taken, in a chat that was not used before", () => {
    test("remembers nothing", async () => {
      const admission = await send(state, keyed);
      for (const key of [CHAT, KEY]) expect(await opened.read(key)).toBeDefined();
      await state.settle(admission, NOT_TAKEN);
      for (const key of [CHAT, KEY]) expect(await opened.read(key)).toBeUndefined();
    });

    test("remembers nothing either if it is called twice", async () => {
      const admission = await send(state, keyed);
      for (let times = 0; times < 2; times += 1) await state.settle(admission, NOT_TAKEN);
      for (const key of [CHAT, KEY]) expect(await opened.read(key)).toBeUndefined();
    });
  });

  test("knows for how long a session was ended, and does not mistake a cut-off for it", async () => {
    await state.cutOff({ workspaceId, subjectKey: undefined, forMs: 2 * HOUR_MS });
    expect(await state.isEnded(SESSION, 1)).toBe("not_ended");
    await state.revokeSession(SESSION, HOUR_MS);
    expect(await state.isEnded(SESSION, HOUR_MS - 60_000)).toBe("ended");
    expect(await state.isEnded(SESSION, HOUR_MS + 60_000)).toBe("not_ended");
    await opened.moveMs(120_000);
    expect(await state.isEnded(SESSION, HOUR_MS - 60_000)).toBe("not_ended");
  });

  describe("of a message without a known transcript state, in a chat that was not used before", () => {
    const REJECTED = { ...ANSWERED, answer: "p message_rejected", stateAfter: undefined } as const;
    // The state under test keeps owners for a day only.
    const longSettings = { ...SETTINGS, ownerKeptUs: 30 * 24 * HOUR_MS * 1_000 };

    test.each([
      ["rejected", REJECTED, 25 * HOUR_MS],
      ["unknown", UNKNOWN, 25 * HOUR_MS],
      ["answered to a confirmed owner", { ...REJECTED, owner: "first-use" }, 30 * 24 * HOUR_MS],
      ["answered with a known state", ANSWERED, 30 * 24 * HOUR_MS],
    ] satisfies [string, Settlement, number][])(
      "remembers the chat of a message that was %s only as long as it is needed",
      async (_how, settlement, keptMs) => {
        opened = open(longSettings);
        ({ state } = opened);
        await state.settle(await send(state, { token: "t1" }), settlement);
        const leftMs = await opened.leftMs(CHAT);
        expect(leftMs).toBeLessThanOrEqual(keptMs);
        expect(leftMs).toBeGreaterThan(keptMs - 60_000);
      },
    );
  });

  describe("whose byte budgets have room for one answer only", () => {
    const answered = { ...ANSWERED, answer: "x".repeat(1_000), owner: "first-use" } as const;

    beforeEach(() => {
      const kibUs = STORED_WINDOW_US;
      opened = open({ ...SETTINGS, subjectKibUs: kibUs, workspaceKibUs: kibUs });
      ({ state } = opened);
    });

    test("keeps it for a message that is sent, whatever messages were not taken before", async () => {
      for (const token of ["t0", "t1"]) {
        const admission = await send(state, { ...keyed, token });
        expect(admission.storable).toBe(true);
        // A settlement that is repeated gives nothing back again.
        for (let times = 0; times < 2; times += 1) await state.settle(admission, NOT_TAKEN);
      }
      const admission = await send(state, keyed);
      expect(admission.storable).toBe(true);
      await state.settle(admission, answered);
      const other = await send(state, { token: "t3", key: "key-2" });
      expect(other.storable).toBe(false);
      // It has spent nothing, so it gives nothing back.
      await state.settle(other, NOT_TAKEN);
      expect((await send(state, { token: "t4", key: "key-2" })).storable).toBe(false);
    });

    test.each([true, false])("keeps it when a message is withdrawn (known: %s)", async (heard) => {
      for (const token of ["t0", "t1"]) {
        const { request, storable } = await send(state, { ...keyed, token });
        expect(storable).toBe(true);
        for (let times = 0; times < 2; times += 1) await opened.withdraw(request, heard);
      }
    });
  });

  test("remembers a chat that was there before", async () => {
    await state.settle(await send(state, { token: "t0" }), { ...ANSWERED, owner: "first-use" });
    const admission = await send(state, keyed);
    await state.settle(admission, { ...NOT_TAKEN, stateAfter: STATE });
    expect(await opened.chat()).toMatchObject({
      sends: 1,
      state: "3:three",
      owner: { kind: "f", subjectKey: "alice" },
      running: undefined,
    });
  });

  describe("contents whose first message has an unknown outcome", () => {
    test("are contested for 25 hours, and no longer for being sent and answered again", async () => {
      await state.settle(await send(state, keyed), UNKNOWN);
      await opened.moveMs(24 * HOUR_MS);
      const again = await send(state, { token: "t2" });
      expect(again.contested).toBe(true);
      await state.settle(again, ANSWERED);
      await opened.moveMs(HOUR_MS);
      expect((await send(state, { token: "later" })).contested).toBe(false);
    });

    test("are contested for longer where the second message's outcome is unknown, too", async () => {
      await state.settle(await send(state, keyed), UNKNOWN);
      await opened.moveMs(24 * HOUR_MS);
      await state.settle(await send(state, { token: "t2" }), UNKNOWN);
      await opened.moveMs(HOUR_MS);
      // The repeat may arrive for as long as the first message might have.
      const third = await send(state, { token: "t3" });
      expect(third.contested).toBe(true);
      await state.settle(third, ANSWERED);
      await opened.moveMs(24 * HOUR_MS);
      expect((await send(state, { token: "later" })).contested).toBe(false);
    });

    test("are recovered as long as they were not sent again", async () => {
      await state.settle(await send(state, keyed), { ...UNKNOWN, stateBefore: STATE });
      await state.settle(await send(state, { token: "t2", words: "others" }), ANSWERED);
      const recovering = await admit(state, { ...keyed, token: "t3" });
      if (recovering.kind !== "unresolved") throw new Error(recovering.kind);
      expect(recovering.admission.transcriptState).toEqual(STATE);
      await state.settle(await send(state, { token: "t4" }), ANSWERED);
      expect(await state.settle(recovering.admission, RECOVERED)).toBe("contested");
    });
  });

  test("recovers no answer that is not stored where the same words went between", async () => {
    const before = await send(state, keyed);
    await opened.moveMs(15_000);
    await state.settle(await send(state, { token: "t2" }), ANSWERED);
    // The lock is free again, and its first holder lives.
    expect(await state.renew(before)).toBe("renewed");
    const large = "x".repeat(SETTINGS.answerBytesMax + 1);
    await state.settle(before, { ...ANSWERED, answer: large, stateBefore: STATE });
    const recovering = await admit(state, { ...keyed, token: "t3" });
    if (recovering.kind !== "unresolved") throw new Error(recovering.kind);
    expect(recovering.admission.transcriptState).toBeUndefined();
  });

  test("forgets the transcript state before a message that crashed and was recovered", async () => {
    await state.settle(await send(state, { token: "t0" }), { ...ANSWERED, owner: "first-use" });
    await send(state, keyed);
    await opened.moveMs(15_000);
    const recovering = await admit(state, { ...keyed, token: "t2" });
    if (recovering.kind !== "unresolved") throw new Error(recovering.kind);
    expect(await state.settle(recovering.admission, RECOVERED)).toBe("settled");
    expect((await send(state, { token: "t3" })).transcriptState).toBeUndefined();
  });

  test("finds an answer that is not stored by the transcript state before its message", async () => {
    const large = "x".repeat(SETTINGS.answerBytesMax + 1);
    const answered = { ...ANSWERED, answer: large, stateBefore: STATE };
    await state.settle(await send(state, keyed), answered);
    for (const token of ["t2", "t3"]) {
      const recovering = await admit(state, { ...keyed, token });
      if (recovering.kind !== "unresolved") throw new Error(recovering.kind);
      expect(recovering.admission).toMatchObject({ contested: false, transcriptState: STATE });
      const found = { ...RECOVERED, answer: large };
      expect(await state.settle(recovering.admission, found)).toBe("settled");
    }
  });

  test("with more unresolved messages than it can store, contests all contents and recovers none", async () => {
    const uses = Array.from({ length: UNRESOLVED_MAX + 1 }, (_, nth) => ({
      token: `t${nth}`,
      words: `words-${nth}`,
      key: `key-${nth}`,
    }));
    for (const use of uses) {
      const admission = await send(state, use);
      expect(admission.contested).toBe(false);
      await state.settle(admission, { ...UNKNOWN, stateBefore: STATE });
    }
    expect(await opened.chat()).toMatchObject({ unresolved: [] });
    for (const use of uses) {
      const recovering = await admit(state, { ...use, token: `again-${use.token}` });
      if (recovering.kind !== "unresolved") throw new Error(recovering.kind);
      expect(recovering.admission.contested).toBe(true);
      expect(await state.settle(recovering.admission, RECOVERED)).toBe("contested");
    }
    const fresh = await send(state, { token: "fresh", words: "fresh" });
    expect(fresh.contested).toBe(true);
    await state.settle(fresh, NOT_TAKEN);
    await opened.moveMs(25 * HOUR_MS);
    expect((await send(state, { token: "later", words: "words-0" })).contested).toBe(false);
  });

  test("keeps a key no longer for being repeated, looked for or renewed", async () => {
    const admission = await send(state, keyed);
    await opened.age(KEY, HOUR_MS);
    await state.renew(admission, STATE);
    await state.settle(admission, UNKNOWN);
    const recovering = await admit(state, { ...keyed, token: "t2" });
    if (recovering.kind !== "unresolved") throw new Error(recovering.kind);
    await state.renew(recovering.admission);
    await state.settle(recovering.admission, UNKNOWN);
    expect(await opened.read(KEY)).toContain(" t1 t2 0 3:three outcome_unknown");
    expect(await opened.leftMs(KEY)).toBeGreaterThan(0);
    expect(await opened.leftMs(KEY)).toBeLessThanOrEqual(HOUR_MS);
  });

  describe("that settles a message whose lock is lost, without another message since", () => {
    const settlement = { ...ANSWERED, owner: "first-use" } as const;

    test("is called twice: the count starts again and is reliable", async () => {
      const admission = await send(state, { token: "t1" });
      expect(await state.settle(admission, settlement)).toBe("settled");
      expect(await state.settle(admission, settlement)).toBe("lost");
      expect(await opened.chat()).toMatchObject({ sends: 1, state: "-", doubtfulUntilUs: 0 });
    });

    test("or has lost it and counted another in its place: that count is good no more", async () => {
      const forgotten = await send(state, { token: "t1" });
      await loseAll();
      await state.settle(await send(state, { token: "t2", words: "others" }), settlement);
      expect(await opened.chat()).toMatchObject({ sends: 1, state: "3:three", doubtfulUntilUs: 0 });
      await state.settle(forgotten, { ...ANSWERED, stateAfter: { count: 3, digest: "other" } });
      expect((await send(state, { token: "t3" })).transcriptState).toBeUndefined();
    });

    test("treats all counts as unreliable if its outcome is unknown, and its content is contested", async () => {
      const forgotten = await send(state, { token: "t1" });
      await loseAll();
      await state.settle(await send(state, { token: "t2", words: "others" }), settlement);
      await state.settle(forgotten, UNKNOWN);
      const { state: text, doubtfulUntilUs } = await opened.chat();
      expect(text).toBe("-");
      expect(doubtfulUntilUs).toBeGreaterThan(0);
      expect((await send(state, { token: "t3" })).contested).toBe(true);
    });

    test("contests a message with the same content that is in progress by then", async () => {
      const forgotten = await send(state, keyed);
      await loseAll();
      const second = await send(state, { token: "t2" });
      await state.settle(forgotten, ANSWERED);
      expect(await state.settle(second, RECOVERED)).toBe("contested");
    });
  });

  describe("a provisional owner", () => {
    test("is renewed by each use, and denies others, who learn that the owner is provisional", async () => {
      await send(state, keyed);
      await opened.moveMs(15_000);
      const second = await send(state, { token: "t2", words: "others" });
      expect(second.provisionalOwner).toBe(true);
      const other = await admit(state, { token: "t3", subject: "bob" });
      expect(other).toMatchObject({ kind: "denied", unowned: true });
      await state.settle(second, { ...ANSWERED, owner: "first-use" });
      expect((await send(state, { token: "t4" })).provisionalOwner).toBe(false);
      const later = await admit(state, { token: "t5", subject: "bob" });
      expect(later).toMatchObject({ kind: "denied", unowned: false });
    });

    test("lasts as long as a request can take, where its instance dies", async () => {
      await send(state, keyed);
      await opened.moveMs(SETTINGS.provisionalKeptUs / 1_000 - 1_000);
      expect((await admit(state, { token: "t2", subject: "bob" })).kind).toBe("denied");
      await opened.moveMs(1_000);
      expect((await admit(state, { token: "t2", subject: "bob" })).kind).toBe("admitted");
    });

    test.each([
      ["not taken", NOT_TAKEN],
      ["unknown", UNKNOWN],
      ["refused", ANSWERED],
    ] satisfies [string, Settlement][])(
      "is dropped with a message that was %s",
      async (_how, of) => {
        await state.settle(await send(state, keyed), of);
        expect((await opened.chat()).owner).toBeUndefined();
        expect((await admit(state, { token: "t2", subject: "bob" })).kind).toBe("admitted");
      },
    );

    test("is not dropped by a read while a message is in progress", async () => {
      const admission = await send(state, keyed);
      const { request } = admission;
      const reading = await state.admit({ ...request, chat: { chatId, access: "first-use" } });
      if (reading.kind !== "admitted") throw new Error(reading.kind);
      await state.settle(reading.admission, NOT_TAKEN);
      expect((await admit(state, { token: "t2", subject: "bob" })).kind).toBe("denied");
      await state.settle(admission, NOT_TAKEN);
      expect((await admit(state, { token: "t2", subject: "bob" })).kind).toBe("admitted");
    });

    describe("that another subject replaced while its request ran", () => {
      const use = { chatId, access: "first-use" } as const;

      test.each(["first-use", "started"] as const)(
        "is told so when it settles a read (%s)",
        async (owner) => {
          const { request } = await send(state, keyed);
          const reading = await state.admit({ ...request, chat: use });
          if (reading.kind !== "admitted") throw new Error(reading.kind);
          await loseAll();
          const other = await send(state, { token: "t2", subject: "bob" });
          await state.settle(other, { ...ANSWERED, owner: "started" });
          expect(await state.settle(reading.admission, { ...NOT_TAKEN, owner })).toBe("foreign");
          expect((await opened.chat()).owner).toMatchObject({ kind: "s", subjectKey: "bob" });
        },
      );

      test("is told so when it settles a message, or its recovery", async () => {
        await state.settle(await send(state, keyed), UNKNOWN);
        const recovering = await admit(state, { ...keyed, token: "t2" });
        if (recovering.kind !== "unresolved") throw new Error(recovering.kind);
        const sending = await send(state, { token: "t3", words: "others" });
        await opened.lose(CHAT);
        const ownership = { workspaceId, subjectKey: "bob", chatId, transcriptState: undefined };
        await state.own({ ...ownership, stamped: true });
        const owner = "first-use";
        expect(await state.settle(recovering.admission, { ...UNKNOWN, owner })).toBe("foreign");
        expect(await state.settle(sending, { ...ANSWERED, owner })).toBe("foreign");
      });
    });

    test("is not dropped by a failed read while another read of its subject is in progress", async () => {
      const read = async () => {
        const chat = { chatId, access: "first-use" } as const;
        const common = { ...SESSION, addressKey: "address", policies: [], replays: undefined };
        const reading = await state.admit({ ...common, chat });
        if (reading.kind !== "admitted") throw new Error(reading.kind);
        return reading.admission;
      };
      const [slow, failing, withdrawn] = [await read(), await read(), await read()];
      await state.settle(failing, NOT_TAKEN);
      await opened.withdraw(withdrawn.request, true);
      expect((await admit(state, { token: "t1", subject: "bob" })).kind).toBe("denied");
      await state.settle(slow, NOT_TAKEN);
      expect(await opened.read(CHAT)).toBeUndefined();
      expect((await admit(state, { token: "t2", subject: "bob" })).kind).toBe("admitted");
    });

    test("is confirmed by the recovery of an answer", async () => {
      await state.settle(await send(state, keyed), UNKNOWN);
      const recovering = await admit(state, { ...keyed, token: "t2" });
      if (recovering.kind !== "unresolved") throw new Error(recovering.kind);
      expect(recovering.admission.provisionalOwner).toBe(true);
      await state.settle(recovering.admission, { ...UNKNOWN, owner: "first-use" });
      expect((await opened.chat()).owner).toMatchObject({ kind: "f", subjectKey: "alice" });
    });

    test("yields to the stamp", async () => {
      const admission = await send(state, keyed);
      const ownership = { workspaceId, subjectKey: "bob", chatId, transcriptState: undefined };
      expect(await state.own({ ...ownership, stamped: true })).toBe("owned");
      // A confirmation that comes too late makes no owner.
      await state.settle(admission, { ...ANSWERED, owner: "first-use" });
      expect((await opened.chat()).owner).toMatchObject({ kind: "s", subjectKey: "bob" });
      expect((await admit(state, { ...keyed, token: "t2" })).kind).toBe("denied");
    });

    test("of a chat that was used first yields to the stamp alone, one that was started to none", async () => {
      await state.settle(await send(state, keyed), { ...ANSWERED, owner: "first-use" });
      const ownership = { workspaceId, subjectKey: "bob", chatId, transcriptState: undefined };
      expect(await state.own({ ...ownership, stamped: false })).toBe("refused");
      expect(await state.own({ ...ownership, stamped: true })).toBe("owned");
      const other = { ...ownership, subjectKey: "carol", stamped: true };
      expect(await state.own(other)).toBe("refused");
    });
  });

  describe("an admission that is withdrawn", () => {
    test.each([true, false])("leaves nothing behind (decision known: %s)", async (heard) => {
      const { request } = await send(state, keyed);
      await opened.withdraw(request, heard);
      for (const key of [CHAT, KEY]) expect(await opened.read(key)).toBeUndefined();
    });

    test("leaves the chat as it was before", async () => {
      await state.settle(await send(state, { token: "t0" }), { ...ANSWERED, owner: "first-use" });
      const before = await opened.chat();
      const { request } = await send(state, keyed);
      await opened.withdraw(request, false);
      const { owner: ownerBefore, ...chatBefore } = before;
      const { owner, ...chat } = await opened.chat();
      expect(chat).toEqual(chatBefore);
      expect(owner).toMatchObject({ kind: "f", subjectKey: ownerBefore?.subjectKey });
    });

    test("refunds limits, but only if it is proven that it spent them", async () => {
      const { request } = await send(state, { token: "t0", words: "others" });
      const asked = { ...request, policies: LIMITED, chat: undefined };
      const spent = await state.admit(asked);
      await opened.withdraw(asked, false);
      expect((await state.admit(asked)).kind).toBe("limited");
      await opened.withdraw(asked, true);
      expect(await state.admit(asked)).toMatchObject({ kind: spent.kind });
    });

    test("frees nothing of another message", async () => {
      const { request } = await send(state, keyed);
      await opened.moveMs(15_000);
      const other = await send(state, { token: "t2", words: "others" });
      await opened.withdraw(request, false);
      expect((await admit(state, { token: "t3", words: "third" })).kind).toBe("chat_busy");
      expect(await opened.read(KEY)).toBeUndefined();
      expect(await state.settle(other, ANSWERED)).toBe("settled");
    });

    test("ends the lease of a key that it was to recover", async () => {
      await state.settle(await send(state, keyed), UNKNOWN);
      const recovering = await admit(state, { ...keyed, token: "t2" });
      if (recovering.kind !== "unresolved") throw new Error(recovering.kind);
      await opened.withdraw(recovering.admission.request, false);
      expect((await admit(state, { ...keyed, token: "t3" })).kind).toBe("unresolved");
    });
  });
});

function limitSessions(session: QuotaSetting) {
  return compilePolicies({ session, sessionDaily: "off", workspace: "off", ip: "off" });
}

const LIMITED = limitSessions({ quota: 1, windowSeconds: 3_600, burst: 1 });

/** Reports a broken connection and then a new one to the state. */
async function reconnect(): Promise<void> {
  redis.loseReplies(undefined);
  await new Promise(setImmediate);
  redis.becomeReady();
}

describe("Redis, where a reply was lost with its connection", () => {
  test("takes an admission back, and its provisional owner is looked at again", async () => {
    redis.loseReplies("bffAdmit");
    expect((await admit(redis.state, keyed)).kind).toBe("unavailable");
    await reconnect();
    const again = await send(redis.state, { ...keyed, token: "t2" });
    expect(again).toMatchObject({ provisionalOwner: true, contested: false });
  });

  test("takes it back also when another message holds the chat by then: its key is free", async () => {
    redis.loseReplies("bffAdmit");
    expect((await admit(redis.state, keyed)).kind).toBe("unavailable");
    redis.loseReplies(undefined);
    await redis.advanceUs(15_000_000);
    const other = await send(redis.state, { token: "t2", words: "others" });
    await reconnect();
    // The lock of the other message stays.
    expect((await admit(redis.state, keyed)).kind).toBe("chat_busy");
    expect(await redis.state.settle(other, ANSWERED)).toBe("settled");
    expect(await send(redis.state, keyed)).toMatchObject({ contested: false });
  });

  test("settles a second time, and keeps no doubt of it", async () => {
    const admission = await send(redis.state, keyed);
    redis.loseReplies("bffSettle");
    expect(await redis.state.settle(admission, ANSWERED)).toBe("unavailable");
    await reconnect();
    // Later commands of the state run after it, on the same connection.
    expect(await openRedis().chat()).toMatchObject({ sends: 1, state: "-", doubtfulUntilUs: 0 });
  });
});
