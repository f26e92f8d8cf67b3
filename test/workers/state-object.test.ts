/**
 * The Durable Object of the state: it decides like the in-process state, and persists its records.
 */
import * as fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";

import type { Admission, AdmitOutcome, AdmitRequest } from "../../src/admission/admission.ts";
import { compilePolicies, type LimitPolicies } from "../../src/admission/limit-policy.ts";
import { createMemoryState } from "../../src/admission/memory-state.ts";
import type { RulesState } from "../../src/admission/rules-state.ts";
import type { ChatId } from "../../src/branded.ts";
import { createObjectState } from "../../src/platform/worker/object-state.ts";
import { runInScope } from "../../src/platform/worker/request-scope.ts";
import { SWEEP_EVERY_MS, SWEEP_PAUSE_MAX_MS } from "../../src/platform/worker/sweep.ts";
import {
  ALL_VERDICTS,
  authPolicy,
  describeUse,
  replays,
  sessionOf,
  settings,
  type Step,
  step,
} from "../support/histories.ts";
import { createMovableClock, SETTINGS, TIGHT_SETTINGS } from "../support/state-fixtures.ts";
import { type RunningObjects, startStateObjects } from "../support/state-objects.ts";
import type { ReplayedCall } from "./shifted-state-object.ts";

let objects: RunningObjects;

beforeAll(async () => {
  objects = await startStateObjects();
});
afterAll(() => objects.close());

const START_MS = Date.UTC(2026, 0, 1);
const START_US = START_MS * 1_000;

test("random histories are decided alike by the in-process state and by the object", async () => {
  const verdicts = new Set<AdmitOutcome["kind"]>();
  let runs = 0;
  await fc.assert(
    fc.asyncProperty(
      settings,
      fc.array(step, { minLength: 1, maxLength: 60, size: "max" }),
      async (limits, steps) => {
        runs += 1;
        const clock = createMovableClock(START_MS);
        const settings = runs % 2 === 0 ? SETTINGS : TIGHT_SETTINGS;
        const memory = createMemoryState(clock, settings);
        const admissions: Admission[] = [];
        const calls: ReplayedCall[] = [];
        const expected: unknown[] = [];
        for (const [index, taken] of steps.entries()) {
          if (taken.do === "wait") {
            clock.advanceMs(taken.us / 1_000);
            continue;
          }
          const call = describeCall(taken, index, compilePolicies(limits), admissions);
          if (call === undefined) continue;
          calls.push({ ...call, atUs: Math.round(clock.epochMs() * 1_000) });
          const result = await ask(memory, call);
          expected.push(result);
          if (call.method !== "admit") continue;
          const outcome = result as AdmitOutcome;
          verdicts.add(outcome.kind);
          if (taken.do === "admit" && taken.withdrawn !== undefined) {
            const spent = ["admitted", "denied", "unresolved"].includes(outcome.kind);
            const heard = taken.withdrawn === "heard";
            if (!spent && heard) continue;
            const atUs = Math.round(clock.epochMs() * 1_000);
            const args = [call.args[0], heard];
            calls.push({ method: "withdraw", args, atUs });
            expected.push(await ask(memory, { method: "withdraw", args }));
            continue;
          }
          if ("admission" in outcome) admissions.unshift(outcome.admission);
        }
        // Cloned: objects of the generator have no prototype, and workerd cannot transfer such
        // objects.
        const plain = structuredClone(calls);
        const replayed = await objects.get(`history ${runs}`).replay(plain, settings);
        expect(replayed).toEqual(expected);
      },
    ),
    { numRuns: 500 },
  );
  expect([...verdicts].toSorted()).toEqual(ALL_VERDICTS);
}, 120_000);

type Call = Omit<ReplayedCall, "atUs">;

function ask(state: RulesState, { method, args }: Call): Promise<unknown> {
  return Reflect.apply(state[method], state, args) as Promise<unknown>;
}

/** The state operation of a step; undefined if its admission does not exist. */
function describeCall(
  taken: Exclude<Step, { do: "wait" }>,
  index: number,
  policies: LimitPolicies,
  admissions: readonly Admission[],
): Call | undefined {
  switch (taken.do) {
    case "admit": {
      const session = sessionOf(taken.subject, START_MS);
      const chat = describeUse(taken, index);
      const request = { ...session, addressKey: `a${taken.address}`, policies, replays, chat };
      return { method: "admit", args: [request] };
    }
    case "settle":
    case "renew": {
      const admission = admissions[taken.admission];
      if (admission === undefined) return undefined;
      return {
        method: taken.do,
        args: [admission, taken.do === "settle" ? taken.settlement : taken.stateBefore],
      };
    }
    case "own": {
      const { subjectKey, workspaceId } = sessionOf(taken.subject, START_MS);
      const chatId = `c${taken.chat}`;
      return {
        method: "own",
        args: [
          {
            workspaceId,
            subjectKey,
            chatId,
            transcriptState: undefined,
            stamped: taken.stamped,
          },
        ],
      };
    }
    case "wrong_credentials":
      return { method: "countAuthFailure", args: [`a${taken.address}`, authPolicy] };
    case "check":
      return {
        method: "checkSession",
        args: [sessionOf(taken.subject, START_MS - taken.issuedAgoMs)],
      };
    case "revoke":
      return { method: "revokeSession", args: [sessionOf(taken.subject, START_MS), taken.forMs] };
    case "cut_off": {
      const subjectKey = taken.subject === undefined ? undefined : `s${taken.subject}`;
      return { method: "cutOff", args: [{ workspaceId: 42, subjectKey, forMs: 86_400_000 }] };
    }
  }
}

function requestOf(token: string): AdmitRequest {
  return {
    ...sessionOf(1, START_MS),
    addressKey: "a1",
    policies: compilePolicies({
      session: { quota: 2, windowSeconds: 60, burst: 2 },
      sessionDaily: "off",
      workspace: { quota: 9, windowSeconds: 60, burst: 9 },
      ip: "off",
    }),
    replays: undefined,
    chat: {
      chatId: "c1" as ChatId,
      access: "open",
      message: { token, fingerprint: `f-${token}`, keyDigest: `k-${token}` },
    },
  };
}

test("a call past its deadline does nothing but tell the object's time", async () => {
  const object = objects.get("late");
  const options = { deadlineMs: -1, settings: SETTINGS };
  expect(await object.admit(requestOf("one"), options)).toEqual({ lateAtMs: 0 });
  expect(await object.countEntries()).toBeUndefined();
});

test("an admission whose answer comes too late is withdrawn: limits, chat and key", async () => {
  const object = objects.get("withdrawn");
  const admit = (token: string): Promise<unknown[]> =>
    object.replay([{ atUs: START_US, method: "admit", args: [requestOf(token)] }], SETTINGS);
  const [first] = (await admit("one")) as AdmitOutcome[];
  if (first?.kind !== "admitted") throw new Error("the first is admitted");
  await object.withdraw(requestOf("one"), true, SETTINGS);
  const [again] = (await admit("one")) as AdmitOutcome[];
  expect(again).toMatchObject({ kind: "admitted", limits: first.limits });
  expect(await admit("two")).toMatchObject([{ kind: "chat_busy" }]);
});

const unused = () => Promise.reject(new Error("is not called here"));

test("a settlement that comes to the object too late is carried out: the chat is free", async () => {
  const object = objects.get("settled-late");
  const admit = (token: string): Promise<unknown[]> =>
    object.replay([{ atUs: START_US, method: "admit", args: [requestOf(token)] }], SETTINGS);
  const [first] = (await admit("one")) as AdmitOutcome[];
  if (first?.kind !== "admitted") throw new Error("the first is admitted");
  let nowMs = 0;
  const state = createObjectState({
    objects: {
      getByName: () => ({
        admit: unused,
        settle: (...call) => object.settle(...call),
        renew: unused,
        own: unused,
        checkSession: unused,
        isEnded: unused,
        revokeSession: unused,
        cutOff: unused,
        countAuthFailure: unused,
        isReachable: unused,
        withdraw: unused,
      }),
    },
    timeoutMs: 10_000,
    settings: SETTINGS,
    // The object's clock is far past any deadline of this one, and no time is left for a second call.
    clock: { epochMs: () => 0, monotonicMs: () => (nowMs += 20_000) },
    log: { log: () => undefined },
  });
  const settled = await runInScope(
    () => undefined,
    () => state.settle(first.admission, { disposition: "not_taken", stateAfter: undefined }),
  );
  expect(settled).toBe("settled");
  expect(await admit("two")).toMatchObject([{ kind: "admitted" }]);
});

test("its records survive the removal of the object from memory", async () => {
  const admit = (token: string) =>
    objects
      .get("ended")
      .replay([{ atUs: START_US, method: "admit", args: [requestOf(token)] }], SETTINGS);
  expect(await admit("one")).toMatchObject([{ kind: "admitted" }]);
  // The abort makes the call itself fail.
  await objects
    .get("ended")
    .end()
    .catch(() => undefined);
  expect(await admit("two")).toMatchObject([{ kind: "chat_busy" }]);
});

test("an object whose records expire in weeks is not woken every ten minutes", async () => {
  const object = objects.get("idle");
  const revoked = { method: "revokeSession", args: [sessionOf(1, START_MS), 30 * 86_400_000] };
  await object.replay([{ ...revoked, atUs: START_US } as ReplayedCall], SETTINGS);
  const firstMs = await object.timeToAlarmMs();
  expect(firstMs).toBeGreaterThan(SWEEP_EVERY_MS / 2);
  expect(firstMs).toBeLessThanOrEqual(SWEEP_EVERY_MS);
  await object.runAlarmAt(START_US + SWEEP_EVERY_MS * 1_000);
  const nextMs = await object.timeToAlarmMs();
  expect(nextMs).toBeGreaterThan(SWEEP_PAUSE_MAX_MS / 2);
  expect(nextMs).toBeLessThanOrEqual(SWEEP_PAUSE_MAX_MS);
});

test("the alarm deletes expired records only, and an empty object keeps no table", async () => {
  const object = objects.get("swept");
  const at = (ms: number, call: Call) =>
    object.replay([{ ...call, atUs: START_US + ms * 1_000 }], SETTINGS);
  const session = sessionOf(1, START_MS);
  await at(0, { method: "countAuthFailure", args: ["a1", authPolicy] });
  await at(0, { method: "revokeSession", args: [session, 2 * SWEEP_EVERY_MS] });
  expect(await object.countEntries()).toBe(2);
  await object.runAlarmAt(START_US + SWEEP_EVERY_MS * 1_000);
  expect(await object.countEntries()).toBe(1);
  const check: Call = { method: "checkSession", args: [session] };
  expect(await at(SWEEP_EVERY_MS, check)).toEqual(["revoked"]);
  await object.runAlarmAt(START_US + 3 * SWEEP_EVERY_MS * 1_000);
  expect(await object.countEntries()).toBeUndefined();
  expect(await at(3 * SWEEP_EVERY_MS, check)).toEqual(["valid"]);
});
