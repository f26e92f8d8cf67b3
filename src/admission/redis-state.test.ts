/** What Redis can do to the port, with a connection that the test answers by hand. */
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

import type { ChatId, WorkspaceId } from "../branded.ts";
import type { Admission, AdmitRequest } from "./admission.ts";
import { compilePolicies } from "./limit-policy.ts";
import { createRedisState, type RedisConnection } from "./redis-state.ts";
import { compileStateSettings } from "./state-settings.ts";

const TIMEOUT_MS = 500;
/** Redis's clock runs this far from ours, in microseconds. */
const REDIS_EPOCH_US = 1_700_000_000_000_000;

interface Call {
  readonly script: string;
  readonly keys: readonly string[];
  readonly args: readonly (string | number)[];
  readonly answer: (reply: unknown) => void;
  readonly fail: () => void;
}

let calls: Call[];
let nowMs: number;
/** What the state does when a connection comes up. */
let becomeReady: () => void;
const connection: RedisConnection = {
  run: (script, keys, args) => {
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    calls.push({
      script: script.name,
      keys,
      args,
      answer: resolve,
      fail: () => reject(new Error("connection lost")),
    });
    return promise;
  },
  onReady: (listener) => {
    becomeReady = listener;
  },
};

const request: AdmitRequest = {
  workspaceId: 42 as WorkspaceId,
  subjectKey: "subject",
  sessionKey: "session",
  issuedAtMs: 1_699_999_999_000,
  addressKey: "203.0.113.1",
  policies: compilePolicies({
    session: { quota: 20, windowSeconds: 60, burst: 20 },
    sessionDaily: "off",
    workspace: "off",
    ip: "off",
  }),
  replays: undefined,
  chat: {
    chatId: "chat-1" as ChatId,
    access: "first-use",
    message: { token: "token", fingerprint: "words", keyDigest: "key" },
  },
};

const admission: Admission = {
  request,
  role: "sender",
  provisionalOwner: false,
  sends: 7,
  transcriptState: undefined,
  contested: false,
  storable: true,
  waitedMs: 400,
};

/** The chat's record that an admission leaves. */
const CHAT = `f subject ${REDIS_EPOCH_US * 2} 7 - 0 0 token ${REDIS_EPOCH_US * 2} words key`;

/** An admission's reply: verdict, now, chat, key, whether it may be stored, one limit's TAT. */
const admitted = (nowUs: number) => [1, nowUs, CHAT, "", 1, nowUs + 3_000_000];

const NOT_TAKEN = { disposition: "not_taken", stateAfter: undefined } as const;

const SETTINGS = compileStateSettings({
  chats: { ownerTtlMs: 60_000 },
  upstream: { timeoutMs: 10_000, recoveryWindowMs: 10_000 },
  storedAnswers: { answerBytesMax: 1_000, subjectBytes: 1_048_576, workspaceBytes: 2_097_152 },
});
/** Of the settings: how long an owner and a provisional one are kept, and the budgets. */
const KEPT = [60_000_000, 60_000_000];
const BUDGETS = [168_750_000, 84_375_000];

/** What takes an admission back: message, owner, budgets, and one limit. */
const WITHDRAWN = ["token", "words", "key", "subject", 60_000_000, ...BUDGETS, 4, 3_000_000];

function createState() {
  const clock = { epochMs: () => 0, monotonicMs: () => nowMs };
  return createRedisState({
    connection,
    prefix: "bff:",
    timeoutMs: TIMEOUT_MS,
    settings: SETTINGS,
    clock,
  });
}

async function call(index: number): Promise<Call> {
  await vi.waitFor(() => expect(calls.length).toBeGreaterThan(index));
  const found = calls[index];
  if (found === undefined) throw new Error("no such call");
  return found;
}

/** Lets time pass for timers and for the clock alike. */
async function pass(ms: number): Promise<void> {
  nowMs += ms;
  // And one turn of the event loop more, in which a reply that is there would be read.
  await vi.advanceTimersByTimeAsync(ms + 1);
}

beforeEach(() => {
  vi.useFakeTimers();
  calls = [];
  nowMs = 1_000;
});
afterEach(() => {
  vi.useRealTimers();
});

describe("an admission", () => {
  test("carries a deadline in Redis's time, never later than ours", async () => {
    const admitting = createState().admit(request);
    const clock = await call(0);
    expect(clock.script).toBe("bffClock");
    await pass(100);
    clock.answer(REDIS_EPOCH_US);
    const admit = await call(1);
    // Asked at 1,000 ms with 500 ms to wait; Redis said its time when ours was 1,100 at the latest.
    expect(admit.args[0]).toBe(REDIS_EPOCH_US + 400_000);
    const words = ["first-use", "subject", "token", "words", "key", "1"];
    const noReplays = [0, 0, 0, 0, 0];
    // In the second key, the fourth counter.
    const limit = [2, 4, 3_000_000, 60_000_000];
    const numbers = JSON.stringify([...KEPT, ...BUDGETS, ...noReplays, ...limit]);
    expect(admit.args.slice(1)).toEqual([1_699_999_999_000, ...words, numbers]);
    expect(admit.keys).toEqual([
      "bff:{ws:42}:r:session",
      "bff:{ws:42}:u:subject",
      "bff:{ws:42}:w2",
      "bff:{ws:42}:c2:chat-1",
      "bff:{ws:42}:k:key",
    ]);
    admit.answer(admitted(REDIS_EPOCH_US));
    expect(await admitting).toMatchObject({
      kind: "admitted",
      limits: [{ remaining: 19, resetSeconds: 3 }],
      admission: { waitedMs: 100, sends: 7, provisionalOwner: false, storable: true },
    });
    expect(calls).toHaveLength(2);
  });

  test("that Redis calls late is tried once more with Redis's new time", async () => {
    const admitting = createState().admit(request);
    (await call(0)).answer(REDIS_EPOCH_US);
    const jumpedUs = REDIS_EPOCH_US + 3_600_000_000;
    (await call(1)).answer([0, jumpedUs]);
    const second = await call(2);
    expect(second.args[0]).toBe(jumpedUs + TIMEOUT_MS * 1_000);
    second.answer(admitted(jumpedUs));
    expect(await admitting).toMatchObject({ kind: "admitted" });
  });

  test("that Redis calls late twice is unavailable, not refused", async () => {
    const admitting = createState().admit(request);
    (await call(0)).answer(REDIS_EPOCH_US);
    (await call(1)).answer([0, REDIS_EPOCH_US]);
    (await call(2)).answer([0, REDIS_EPOCH_US]);
    expect(await admitting).toEqual({ kind: "unavailable" });
    expect(calls).toHaveLength(3);
  });

  test("that was decided but told too late is taken back", async () => {
    const admitting = createState().admit(request);
    (await call(0)).answer(REDIS_EPOCH_US);
    const admit = await call(1);
    await pass(TIMEOUT_MS);
    expect(await admitting).toEqual({ kind: "unavailable" });
    admit.answer(admitted(REDIS_EPOCH_US));
    const withdrawal = await call(2);
    expect(withdrawal.script).toBe("bffWithdraw");
    expect(withdrawal.keys).toEqual([
      ...admit.keys.slice(1, 2),
      ...admit.keys.slice(3),
      ...admit.keys.slice(1, 3),
    ]);
    // That it was admitted is known.
    expect(withdrawal.args).toEqual(["1", ...WITHDRAWN]);
    withdrawal.fail();
  });

  test.each([
    [[2, REDIS_EPOCH_US, "", "", 0, REDIS_EPOCH_US]],
    [[0, REDIS_EPOCH_US]],
    ["not a reply"],
  ])("that was refused and told too late (%j) has nothing to take back", async (reply) => {
    const admitting = createState().admit(request);
    (await call(0)).answer(REDIS_EPOCH_US);
    const admit = await call(1);
    await pass(TIMEOUT_MS);
    await admitting;
    admit.answer(reply);
    await pass(1);
    expect(calls).toHaveLength(2);
  });

  test("whose connection breaks is taken back once there is another", async () => {
    const admitting = createState().admit(request);
    (await call(0)).answer(REDIS_EPOCH_US);
    const admit = await call(1);
    admit.fail();
    expect(await admitting).toEqual({ kind: "unavailable" });
    becomeReady();
    const withdrawal = await call(2);
    expect(withdrawal).toMatchObject({
      script: "bffWithdraw",
      // Only the token can prove it.
      args: ["", ...WITHDRAWN],
    });
    withdrawal.fail();
    becomeReady();
    await pass(1);
    expect(calls).toHaveLength(3);
  });

  test("over a connection that breaks is unavailable at once", async () => {
    const admitting = createState().admit(request);
    (await call(0)).answer(REDIS_EPOCH_US);
    (await call(1)).fail();
    expect(await admitting).toEqual({ kind: "unavailable" });
  });

  test("of a session that was ended is refused, and nothing was spent", async () => {
    const admitting = createState().admit(request);
    (await call(0)).answer(REDIS_EPOCH_US);
    (await call(1)).answer([4, REDIS_EPOCH_US, "", "", 0, REDIS_EPOCH_US]);
    expect(await admitting).toMatchObject({ kind: "revoked", limits: [{ remaining: 20 }] });
  });

  test.each(
    [null, [], ["1", 2, "", "", 0], [99, 1, "", "", 0], [1], [1, 1, 1], [1, 1, "", "", 0, "1"]].map(
      (reply) => ({ reply }),
    ),
  )("answered $reply is unavailable", async ({ reply }) => {
    const admitting = createState().admit(request);
    (await call(0)).answer(REDIS_EPOCH_US);
    (await call(1)).answer(reply);
    expect(await admitting).toEqual({ kind: "unavailable" });
  });
});

/** Whether a settlement says that its answer is to be stored, and the answer. */
function readStored({ args }: { readonly args: readonly (string | number)[] }): unknown[] {
  const given: unknown = JSON.parse(String(args[1]));
  return [Array.isArray(given) && given[12], args[0]];
}

describe("settling", () => {
  test("waits only for what the admission has left of the time", async () => {
    const settling = createState().settle(admission, NOT_TAKEN);
    await call(0);
    await pass(100);
    expect(await settling).toBe("unavailable");
  });

  test("that could not be written is tried once more when there is a connection", async () => {
    const settling = createState().settle(admission, NOT_TAKEN);
    (await call(0)).fail();
    expect(await settling).toBe("unavailable");
    becomeReady();
    expect(await call(1)).toMatchObject({
      script: "bffSettle",
      // Of each budget one KiB is given back.
      args: [
        "",
        `["token","words","key","not_taken",false,7,60000000,"subject","","-","-","-",false,-1,${BUDGETS.join(",")}]`,
      ],
    });
  });

  test("carries an answer only where there is a key to keep it for", async () => {
    const unknown = { stateBefore: undefined, stateAfter: undefined };
    const taken = { disposition: "taken", source: "reply", ...unknown } as const;
    const answered = { ...taken, answer: "m the answer" };
    const state = createState();
    const message = { token: "token", fingerprint: "words", keyDigest: undefined };
    const chat = { chatId: "chat-1" as ChatId, access: "first-use", message } as const;
    void state.settle({ ...admission, request: { ...request, chat } }, answered);
    void state.settle(admission, answered);
    expect(readStored(await call(0))).toEqual([false, ""]);
    expect(readStored(await call(1))).toEqual([true, "m the answer"]);
  });

  test("carries no answer that is too large, or past the byte budgets", async () => {
    const unknown = { stateBefore: undefined, stateAfter: undefined };
    const taken = { disposition: "taken", source: "reply", ...unknown } as const;
    const state = createState();
    void state.settle(admission, { ...taken, answer: "ü".repeat(501) });
    void state.settle({ ...admission, storable: false }, { ...taken, answer: "x".repeat(200) });
    void state.settle({ ...admission, storable: false }, { ...taken, answer: "p chat_ended" });
    expect(readStored(await call(0))).toEqual([false, ""]);
    expect(readStored(await call(1))).toEqual([false, ""]);
    // No larger than the record that would be kept without it.
    const small = await call(2);
    expect(readStored(small)).toEqual([true, "p chat_ended"]);
    expect(String(small.args[1])).toContain(",true,0,");
  });

  test("says when the lock was taken over by another request", async () => {
    const settling = createState().settle(admission, NOT_TAKEN);
    (await call(0)).answer([2, REDIS_EPOCH_US]);
    expect(await settling).toBe("lost");
  });
});

describe("renewing", () => {
  test.each([
    [[1, REDIS_EPOCH_US], "renewed"],
    [[2, REDIS_EPOCH_US], "lost"],
    ["text", "unavailable"],
  ])("carries a deadline too, and answered %j is %s", async (reply, expected) => {
    const renewing = createState().renew(admission);
    (await call(0)).answer(REDIS_EPOCH_US);
    const renewal = await call(1);
    expect(renewal.args).toEqual([
      REDIS_EPOCH_US + TIMEOUT_MS * 1_000,
      "token",
      "words",
      "key",
      "1",
      7,
      "-",
      60_000_000,
    ]);
    renewal.answer(reply);
    expect(await renewing).toBe(expected);
  });
});

test("a reply that waited long to be read does not bring the next deadline forward", async () => {
  const state = createState();
  const first = state.admit(request);
  (await call(0)).answer(REDIS_EPOCH_US);
  await vi.waitFor(() => expect(calls).toHaveLength(2));
  // The process was busy for 400 ms while the answer lay there.
  nowMs += 400;
  (await call(1)).answer(admitted(REDIS_EPOCH_US));
  await first;
  void state.admit(request);
  expect((await call(2)).args[0]).toBe(REDIS_EPOCH_US + 400_000 + TIMEOUT_MS * 1_000);
});

describe("ending sessions", () => {
  test("is done only when Redis says so", async () => {
    const state = createState();
    const done = state.revokeSession(request, 60_000.5);
    const revoke = await call(0);
    expect(revoke).toMatchObject({
      script: "bffRevoke",
      keys: ["bff:{ws:42}:r:session"],
      args: [60_001],
    });
    revoke.answer(REDIS_EPOCH_US);
    expect(await done).toBe("done");

    const cut = { workspaceId: 42 as WorkspaceId, subjectKey: undefined, forMs: 1_000 };
    const failed = state.cutOff(cut);
    (await call(1)).fail();
    expect(await failed).toBe("unavailable");
    const hanging = state.cutOff({ ...cut, subjectKey: "subject" });
    expect((await call(2)).keys).toEqual(["bff:{ws:42}:u:subject"]);
    await pass(TIMEOUT_MS);
    expect(await hanging).toBe("unavailable");
  });

  test.each([
    [[1, REDIS_EPOCH_US], "valid"],
    [[2, REDIS_EPOCH_US], "revoked"],
    [null, "unavailable"],
  ])("asked with the answer %j is %s", async (reply, expected) => {
    const checking = createState().checkSession(request);
    (await call(0)).answer(REDIS_EPOCH_US);
    const check = await call(1);
    expect(check.keys).toHaveLength(3);
    check.answer(reply);
    expect(await checking).toBe(expected);
  });
});

test("wrong credentials are counted under their address, and unavailable is not a refusal", async () => {
  const state = createState();
  const [policy] = request.policies;
  if (policy === undefined) throw new Error("the limit is on");
  const counting = state.countAuthFailure("203.0.113.1", policy);
  (await call(0)).answer(REDIS_EPOCH_US);
  const count = await call(1);
  expect(count.keys).toEqual(["bff:{af:203.0.113.1}"]);
  expect(count.args.slice(1)).toEqual([1, 3_000_000, 60_000_000]);
  count.fail();
  expect(await counting).toEqual({ kind: "unavailable" });
});
