import { expect, test } from "vitest";

import type { Ticket } from "../../admission/admission.ts";
import type { WorkspaceId } from "../../branded.ts";
import { createObjectState } from "./object-state.ts";
import { runInScope } from "./request-scope.ts";
import type { CallAnswer, CallOptions } from "./state-object.ts";

const TIMEOUT_MS = 500;

/** Asks whether the state is reachable, of an object whose clock is ahead and whose answers take a while. */
async function ask(aheadMs: number, answerMs: number) {
  let nowMs = 1_000_000;
  let calls = 0;
  const call = (_method: string, _args: unknown, options: CallOptions): Promise<CallAnswer> => {
    calls += 1;
    nowMs += answerMs;
    const objectMs = nowMs + aheadMs;
    return Promise.resolve(
      objectMs > options.deadlineMs ? { lateAtMs: objectMs } : { result: true },
    );
  };
  const state = createObjectState({
    objects: { getByName: () => ({ call, withdraw: () => Promise.resolve() }) },
    timeoutMs: TIMEOUT_MS,
    ownerTtlMs: 1_000,
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
  ["seeker", 1, "unavailable"],
] as const)(
  "a %s's settlement that the object fails is told %i times",
  async (role, times, expected) => {
    let calls = 0;
    const call = (): Promise<CallAnswer> => {
      calls += 1;
      return calls === 1
        ? Promise.reject(new Error("the object was reset"))
        : Promise.resolve({ result: "settled" });
    };
    const state = createObjectState({
      objects: { getByName: () => ({ call, withdraw: () => Promise.resolve() }) },
      timeoutMs: TIMEOUT_MS,
      ownerTtlMs: 1_000,
      clock: { epochMs: () => 0, monotonicMs: () => 0 },
      log: { log: () => undefined },
    });
    const ticket = { role, request: { workspaceId: 42 as WorkspaceId } } as Ticket;
    const settled = await runInScope(
      () => undefined,
      () => state.settle(ticket, { fate: "not_taken", mark: undefined }),
    );
    expect(settled).toBe(expected);
    expect(calls).toBe(times);
  },
);
