import { expect, test } from "vitest";

import type { Admission, AdmitOutcome, AdmitRequest } from "../../admission/admission.ts";
import type { WorkspaceId } from "../../branded.ts";
import { compileStateSettings } from "../../admission/state-settings.ts";
import { createObjectState, type StateObjectCalls } from "./object-state.ts";
import { runInScope } from "./request-scope.ts";
import type { CallAnswer, CallOptions } from "./state-object.ts";

const TIMEOUT_MS = 500;

const settings = compileStateSettings({
  chats: { ownerTtlMs: 86_400_000 },
  upstream: { timeoutMs: 60_000, recoveryWindowMs: 20_000 },
  storedAnswers: { answerBytesMax: 65_536, subjectBytes: 1_048_576, workspaceBytes: 1_048_576 },
});

const request = { workspaceId: 42 as WorkspaceId } as AdmitRequest;

const fail = () => Promise.reject(new Error("is not called here"));
const unused: StateObjectCalls = {
  admit: fail,
  settle: fail,
  renew: fail,
  own: fail,
  checkSession: fail,
  isEnded: fail,
  revokeSession: fail,
  cutOff: fail,
  countAuthFailure: fail,
  isReachable: fail,
  withdraw: fail,
};

/**
 * Calls `isReachable` on an object with another clock.
 *
 * @param aheadMs how far the object's clock is ahead
 * @param answerMs time until the object answers
 */
async function ask(aheadMs: number, answerMs: number) {
  let nowMs = 1_000_000;
  let calls = 0;
  const isReachable = (options: CallOptions): Promise<CallAnswer<boolean>> => {
    calls += 1;
    nowMs += answerMs;
    const objectMs = nowMs + aheadMs;
    return Promise.resolve(
      objectMs > options.deadlineMs ? { lateAtMs: objectMs } : { result: true },
    );
  };
  const state = createObjectState({
    objects: { getByName: () => ({ ...unused, isReachable }) },
    timeoutMs: TIMEOUT_MS,
    settings,
    clock: { epochMs: () => nowMs, monotonicMs: () => nowMs },
    log: { log: () => undefined },
  });
  const reachable = await runInScope(
    () => undefined,
    () => state.isReachable(),
  );
  return { reachable, calls };
}

test("an object is asked once where the clocks agree", async () => {
  expect(await ask(0, 10)).toEqual({ reachable: true, calls: 1 });
});

test("an object whose clock is ahead by more than the time limit decides nevertheless", async () => {
  expect(await ask(60_000, 10)).toEqual({ reachable: true, calls: 2 });
});

test("an object that was really called too late is not asked again", async () => {
  expect(await ask(0, TIMEOUT_MS + 1)).toEqual({ reachable: false, calls: 1 });
});

test.each([
  ["sender", 2, "settled"],
  ["recoverer", 1, "unavailable"],
] as const)(
  "a %s's settlement that the object fails is told %i times",
  async (role, times, expected) => {
    let calls = 0;
    const settle = (): Promise<"settled"> => {
      calls += 1;
      return calls === 1
        ? Promise.reject(new Error("the object was reset"))
        : Promise.resolve("settled");
    };
    const state = createObjectState({
      objects: { getByName: () => ({ ...unused, settle }) },
      timeoutMs: TIMEOUT_MS,
      settings,
      clock: { epochMs: () => 0, monotonicMs: () => 0 },
      log: { log: () => undefined },
    });
    const admission = { role, request } as Admission;
    const settled = await runInScope(
      () => undefined,
      () => state.settle(admission, { disposition: "not_taken", stateAfter: undefined }),
    );
    expect(settled).toBe(expected);
    expect(calls).toBe(times);
  },
);

test.each([
  ["was decided and told too late", true, true],
  ["failed, and may have been decided", false, false],
] as const)("an admission that %s is taken back", async (_how, decided, heard) => {
  const withdrawn: boolean[] = [];
  const { promise: late, resolve } = Promise.withResolvers<CallAnswer<AdmitOutcome>>();
  const waiting: Promise<unknown>[] = [];
  const state = createObjectState({
    objects: {
      getByName: () => ({
        ...unused,
        admit: () => (decided ? late : fail()),
        withdraw: (_request, told) => {
          withdrawn.push(told);
          return Promise.resolve();
        },
      }),
    },
    timeoutMs: 1,
    settings,
    clock: { epochMs: () => 0, monotonicMs: () => 0 },
    log: { log: () => undefined },
  });
  const outcome = await runInScope(
    (work) => void waiting.push(work),
    () => state.admit(request),
  );
  expect(outcome).toEqual({ kind: "unavailable" });
  resolve({ result: { kind: "denied", unowned: false, limits: [] } });
  await Promise.allSettled(waiting);
  expect(withdrawn).toEqual([heard]);
});
