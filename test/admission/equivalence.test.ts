/** The rules in TypeScript and in Lua are the same rules: same histories, same decisions. */
import * as fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";

import type { AdmissionState, AdmitOutcome, Ticket } from "../../src/admission/admission.ts";
import { compilePolicies } from "../../src/admission/limit-policy.ts";
import { createMemoryState } from "../../src/admission/memory-state.ts";
import type { ChatId, WorkspaceId } from "../../src/branded.ts";
import {
  ALL_VERDICTS,
  authPolicy,
  describeUse,
  sessionOf,
  settings,
  step,
} from "../support/histories.ts";
import { type RedisServer, startRedis } from "../support/redis-server.ts";
import {
  createMovableClock,
  createShiftedRedis,
  OWNER_TTL_MS,
  type ShiftedRedis,
} from "../support/state-fixtures.ts";

let server: RedisServer;
let shifted: ShiftedRedis;

beforeAll(async () => {
  server = await startRedis();
});
afterAll(async () => {
  await server.kill();
});

test("random histories are decided alike by the in-process state and by Redis", async () => {
  let runs = 0;
  const verdicts = new Map<AdmitOutcome["kind"], number>();
  await fc.assert(
    fc.asyncProperty(
      settings,
      fc.array(step, { minLength: 1, maxLength: 60, size: "max" }),
      async (limits, steps) => {
        runs += 1;
        shifted = createShiftedRedis(server.url, `run${runs}:`);
        const clock = createMovableClock();
        const memory = createMemoryState(clock, OWNER_TTL_MS);
        const policies = compilePolicies(limits);
        const tickets: Ticket[] = [];
        const startedMs = Date.now();

        /** Redis first: its clock goes on by itself, and the other then stands at the same moment. */
        const both = async <Outcome>(ask: (state: AdmissionState) => Promise<Outcome>) => {
          const fromRedis = await ask(shifted.state);
          clock.setEpochUs(shifted.lastNowUs());
          return { fromRedis, fromMemory: await ask(memory) };
        };

        try {
          for (const [index, taken] of steps.entries()) {
            if (taken.do === "wait") {
              await shifted.advanceUs(taken.us);
            } else if (taken.do === "admit") {
              const request = {
                ...sessionOf(taken.subject, startedMs),
                addressKey: `a${taken.address}`,
                policies,
                chat: describeUse(taken, index),
              };
              const { fromRedis, fromMemory } = await both((state) => state.admit(request));
              expect(withoutTimes(fromRedis)).toEqual(withoutTimes(fromMemory));
              expect(fromRedis.kind).not.toBe("unavailable");
              verdicts.set(fromRedis.kind, (verdicts.get(fromRedis.kind) ?? 0) + 1);
              // The newest first: those are the ones that still hold something.
              if ("ticket" in fromRedis) tickets.unshift(fromRedis.ticket);
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
              const ownership = { workspaceId, subjectKey, chatId, mark: undefined, stamped };
              const { fromRedis, fromMemory } = await both((state) => state.own(ownership));
              expect(fromRedis).toBe(fromMemory);
            } else {
              const ticket = tickets[taken.ticket];
              if (ticket === undefined) continue;
              const { fromRedis, fromMemory } = await both<string>((state) =>
                taken.do === "settle"
                  ? state.settle(ticket, taken.settlement)
                  : state.renew(ticket, taken.mark),
              );
              expect(fromRedis).toBe(fromMemory);
            }
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
  // None of the rules was left out by chance.
  expect([...verdicts.keys()].toSorted()).toEqual(ALL_VERDICTS);
}, 120_000);

/** Everything but how long it took. */
function withoutTimes(outcome: AdmitOutcome) {
  return "ticket" in outcome ? { ...outcome, ticket: { ...outcome.ticket, waitedMs: 0 } } : outcome;
}
