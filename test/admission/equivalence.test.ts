/** The rules in TypeScript and in Lua are the same rules: same histories, same decisions. */
import * as fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";

import type { AdmissionState, Ticket } from "../../src/admission/admission.ts";
import { compilePolicies, compilePolicy } from "../../src/admission/limit-policy.ts";
import { createMemoryState } from "../../src/admission/memory-state.ts";
import type { ChatId, WorkspaceId } from "../../src/branded.ts";
import { type RedisServer, startRedis } from "../support/redis-server.ts";
import {
  createMovableClock,
  createShiftedRedis,
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

type Step =
  | { readonly do: "wait"; readonly us: number }
  | {
      readonly do: "admit";
      readonly subject: number;
      readonly address: number;
      readonly chat: number;
    }
  | { readonly do: "settle" | "renew"; readonly ticket: number }
  | { readonly do: "wrong_credentials"; readonly address: number }
  | { readonly do: "check"; readonly subject: number; readonly issuedAgoMs: number }
  | { readonly do: "revoke"; readonly subject: number; readonly forMs: number }
  | { readonly do: "cut_off"; readonly subject: number | undefined };

const few = fc.nat(2);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 2, arbitrary: fc.record({ do: fc.constant("wait" as const), us: fc.nat(40_000_000) }) },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant("admit" as const),
      subject: few,
      address: few,
      chat: few,
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constantFrom("settle" as const, "renew" as const),
      ticket: fc.nat(9),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant("wrong_credentials" as const), address: few }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant("check" as const),
      subject: few,
      issuedAgoMs: fc.nat(120_000),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant("revoke" as const),
      subject: few,
      forMs: fc.integer({ min: 1, max: 60_000 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant("cut_off" as const),
      subject: fc.option(few, { nil: undefined }),
    }),
  },
);

const setting = fc.oneof(
  { weight: 1, arbitrary: fc.constant("off" as const) },
  {
    weight: 4,
    arbitrary: fc.record({
      quota: fc.integer({ min: 1, max: 7 }),
      windowSeconds: fc.integer({ min: 1, max: 120 }),
      burst: fc.integer({ min: 1, max: 9 }),
    }),
  },
);
const settings = fc.record({
  session: setting,
  sessionDaily: setting,
  workspace: setting,
  ip: setting,
});

const authPolicy = compilePolicy("auth-failures", { quota: 3, windowSeconds: 60, burst: 2 });

test("random histories are decided alike by the in-process state and by Redis", async () => {
  let runs = 0;
  await fc.assert(
    fc.asyncProperty(
      settings,
      fc.array(step, { minLength: 1, maxLength: 60 }),
      async (limits, steps) => {
        runs += 1;
        shifted = createShiftedRedis(server.url, `run${runs}:`);
        const clock = createMovableClock();
        const memory = createMemoryState(clock);
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
              const { fromRedis, fromMemory } = await both((state) =>
                state.admit({
                  ...sessionOf(taken.subject, startedMs),
                  addressKey: `a${taken.address}`,
                  chatId: `c${taken.chat}` as ChatId,
                  policies,
                  lockToken: `token${index}`,
                }),
              );
              expect(withoutTimes(fromRedis)).toEqual(withoutTimes(fromMemory));
              expect(fromRedis.kind).not.toBe("unavailable");
              if (fromRedis.kind === "admitted") tickets.push(fromRedis.ticket);
            } else if (taken.do === "wrong_credentials") {
              if (authPolicy === undefined) throw new Error("the policy is on");
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
            } else {
              const ticket = tickets[taken.ticket];
              if (ticket === undefined) continue;
              const { fromRedis, fromMemory } = await both((state) => state[taken.do](ticket));
              expect(fromRedis).toBe(fromMemory);
            }
          }
        } finally {
          await shifted.redis.del("test:shift");
          shifted.close();
        }
      },
    ),
    { numRuns: 500 },
  );
  expect(runs).toBeGreaterThanOrEqual(500);
}, 120_000);

function sessionOf(subject: number, issuedAtMs: number) {
  const subjectKey = `s${subject}`;
  return { workspaceId: 42 as WorkspaceId, subjectKey, sessionKey: `of-${subjectKey}`, issuedAtMs };
}

/** Everything but how long it took. */
function withoutTimes(outcome: Awaited<ReturnType<AdmissionState["admit"]>>) {
  if (outcome.kind !== "admitted") return outcome;
  return { ...outcome, ticket: { ...outcome.ticket, waitedMs: 0 } };
}
