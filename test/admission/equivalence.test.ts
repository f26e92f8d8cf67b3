/**
 * The TypeScript and Lua rules are equivalent: the same histories give the same decisions and
 * records.
 */
import * as fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";

import type { Admission, AdmissionState, AdmitOutcome } from "../../src/admission/admission.ts";
import { compilePolicies } from "../../src/admission/limit-policy.ts";
import { createMemoryKeySpace } from "../../src/admission/key-space.ts";
import { createRulesState } from "../../src/admission/rules-state.ts";
import { formatCounters, parseCounters } from "../../src/admission/records.ts";
import type { ChatId, WorkspaceId } from "../../src/branded.ts";
import {
  ALL_VERDICTS,
  authPolicy,
  describeUse,
  replays,
  sessionOf,
  settings,
  step,
} from "../support/histories.ts";
import { type RedisServer, startRedis } from "../support/redis-server.ts";
import {
  createMovableClock,
  createShiftedRedis,
  SETTINGS,
  type ShiftedRedis,
  TIGHT_SETTINGS,
} from "../support/state-fixtures.ts";

let server: RedisServer;
let shifted: ShiftedRedis;

beforeAll(async () => {
  server = await startRedis();
});
afterAll(async () => {
  await server.kill();
});

/** All records that the histories can write, except those of sessions and wrong credentials. */
const RECORDS = ["{ws:42}:w2"];
for (const one of [0, 1, 2]) {
  RECORDS.push(`{ws:42}:u:s${one}`, `{ws:42}:a:a${one}`, `{ws:42}:c2:c${one}`);
  for (const chat of [0, 1, 2]) {
    RECORDS.push(`{ws:42}:k:k0-${one}-${chat}`, `{ws:42}:k:k1-${one}-${chat}`);
  }
}

/**
 * Removes counters whose time has passed. Redis keeps them longer, as it expires keys by real time.
 */
function withoutPast(key: string, text: string | undefined, nowUs: number): string | undefined {
  if (text === undefined || !/:(?:u|a|w2)\b/.test(key)) return text;
  const cutOffSlot = key.includes(":a:") ? undefined : 0;
  const live = parseCounters(text).map((value, slot) =>
    slot === cutOffSlot || value > nowUs ? value : 0,
  );
  while (live.at(-1) === 0) live.pop();
  return live.length === 0 ? undefined : formatCounters(live);
}

test("random histories are decided alike by the in-process state and by Redis", async () => {
  let runs = 0;
  const verdicts = new Map<AdmitOutcome["kind"], number>();
  await fc.assert(
    fc.asyncProperty(
      settings,
      fc.array(step, { minLength: 1, maxLength: 60, size: "max" }),
      async (limits, steps) => {
        runs += 1;
        // Every other history has byte budgets that a few answers exhaust.
        const settings = runs % 2 === 0 ? SETTINGS : TIGHT_SETTINGS;
        shifted = createShiftedRedis(server.url, `run${runs}:`, settings);
        const clock = createMovableClock();
        const nowUs = () => Math.round(clock.epochMs() * 1_000);
        const space = createMemoryKeySpace(nowUs);
        const memory = createRulesState(space, nowUs, settings);
        const policies = compilePolicies(limits);
        const admissions: Admission[] = [];
        const startedMs = Date.now();
        let stepStartedMs = performance.now();

        /**
         * Runs a step on Redis first, whose clock goes on by itself, and then at the same time on
         * the other.
         */
        const both = async <Outcome>(ask: (state: AdmissionState) => Promise<Outcome>) => {
          const fromRedis = await ask(shifted.state);
          clock.setEpochUs(shifted.lastNowUs());
          return { fromRedis, fromMemory: await ask(memory) };
        };
        /** Checks that both states have exactly the same records. */
        const compareRecords = async () => {
          const inRedis = await shifted.redis.mget(RECORDS.map((key) => `run${runs}:${key}`));
          // Redis went on since the step, longer on a busy machine: a record that ended meanwhile is
          // gone there, and still here.
          const endedUs = nowUs() + (performance.now() - stepStartedMs) * 1_000;
          const texts = RECORDS.map((key, index) => {
            const entry = space.read(key);
            const ended = inRedis[index] === null && (entry?.expiresAtUs ?? 0) <= endedUs;
            return ended ? undefined : withoutPast(key, entry?.text, nowUs());
          });
          const live = inRedis.map((text, index) =>
            // Records that have expired by the shifted clock still exist by Redis's own clock.
            texts[index] === undefined
              ? undefined
              : withoutPast(RECORDS[index] ?? "", text ?? undefined, nowUs()),
          );
          expect(live).toEqual(texts);
        };

        try {
          for (const [index, taken] of steps.entries()) {
            stepStartedMs = performance.now();
            if (taken.do === "wait") {
              await shifted.advanceUs(taken.us);
            } else if (taken.do === "admit") {
              const request = {
                ...sessionOf(taken.subject, startedMs),
                addressKey: `a${taken.address}`,
                policies,
                replays,
                chat: describeUse(taken, index),
              };
              const { fromRedis, fromMemory } = await both((state) => state.admit(request));
              expect(withoutTimes(fromRedis)).toEqual(withoutTimes(fromMemory));
              expect(fromRedis.kind).not.toBe("unavailable");
              verdicts.set(fromRedis.kind, (verdicts.get(fromRedis.kind) ?? 0) + 1);
              if (taken.withdrawn !== undefined) {
                const spent = ["admitted", "denied", "unresolved"].includes(fromRedis.kind);
                const heard = taken.withdrawn === "heard";
                if (!spent && heard) continue;
                await shifted.withdraw(request, heard);
                clock.setEpochUs(shifted.lastNowUs());
                await memory.withdraw(request, heard);
                await compareRecords();
                continue;
              }
              // The newest admissions first: they still hold locks.
              if ("admission" in fromRedis) admissions.unshift(fromRedis.admission);
            } else if (taken.do === "wrong_credentials") {
              const { fromRedis, fromMemory } = await both((state) =>
                state.countAuthFailure(`a${taken.address}`, authPolicy),
              );
              expect(fromRedis).toEqual(fromMemory);
            } else if (taken.do === "check") {
              const session = sessionOf(taken.subject, startedMs - taken.issuedAgoMs);
              const { fromRedis, fromMemory } = await both((state) => state.checkSession(session));
              expect(fromRedis).toBe(fromMemory);
            } else if (taken.do === "revoke") {
              const session = sessionOf(taken.subject, startedMs);
              await both((state) => state.revokeSession(session, taken.forMs));
            } else if (taken.do === "cut_off") {
              const subjectKey = taken.subject === undefined ? undefined : `s${taken.subject}`;
              const order = { workspaceId: 42 as WorkspaceId, subjectKey, forMs: 86_400_000 };
              await both((state) => state.cutOff(order));
            } else if (taken.do === "own") {
              const { subjectKey, workspaceId } = sessionOf(taken.subject, startedMs);
              const chatId = `c${taken.chat}` as ChatId;
              const { stamped } = taken;
              const of = { workspaceId, subjectKey, chatId };
              const ownership = { ...of, transcriptState: undefined, stamped };
              const { fromRedis, fromMemory } = await both((state) => state.own(ownership));
              expect(fromRedis).toBe(fromMemory);
            } else {
              const admission = admissions[taken.admission];
              if (admission === undefined) continue;
              const { fromRedis, fromMemory } = await both<string>((state) =>
                taken.do === "settle"
                  ? state.settle(admission, taken.settlement)
                  : state.renew(admission, taken.stateBefore),
              );
              expect(fromRedis).toBe(fromMemory);
            }
            await compareRecords();
          }
        } finally {
          await shifted.redis.del("test:shift");
          shifted.close();
        }
      },
    ),
    { numRuns: 1_000 },
  );
  expect(runs).toBeGreaterThanOrEqual(1_000);
  // All verdicts occurred, so no rule was left out by chance.
  expect([...verdicts.keys()].toSorted()).toEqual(ALL_VERDICTS);
}, 120_000);

/** The result without its duration. */
function withoutTimes(outcome: AdmitOutcome) {
  return "admission" in outcome
    ? { ...outcome, admission: { ...outcome.admission, waitedMs: 0 } }
    : outcome;
}
