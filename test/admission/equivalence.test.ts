/** The rules in TypeScript and in Lua are the same rules: same histories, same decisions. */
import * as fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";

import type {
  AdmissionState,
  AdmitOutcome,
  ChatAccess,
  Settlement,
  Ticket,
} from "../../src/admission/admission.ts";
import { compilePolicies, compilePolicy } from "../../src/admission/limit-policy.ts";
import { createMemoryState } from "../../src/admission/memory-state.ts";
import type { TranscriptMark } from "../../src/admission/transcript-mark.ts";
import type { ChatId, WorkspaceId } from "../../src/branded.ts";
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

type Step =
  | { readonly do: "wait"; readonly us: number }
  | {
      readonly do: "admit";
      readonly subject: number;
      readonly address: number;
      readonly chat: number;
      readonly access: ChatAccess | undefined;
      readonly message: { readonly words: number; readonly key: number | undefined } | undefined;
    }
  | { readonly do: "settle"; readonly ticket: number; readonly settlement: Settlement }
  | { readonly do: "renew"; readonly ticket: number; readonly mark: TranscriptMark | undefined }
  | {
      readonly do: "own";
      readonly subject: number;
      readonly chat: number;
      readonly stamped: boolean;
    }
  | { readonly do: "wrong_credentials"; readonly address: number }
  | { readonly do: "check"; readonly subject: number; readonly issuedAgoMs: number }
  | { readonly do: "revoke"; readonly subject: number; readonly forMs: number }
  | { readonly do: "cut_off"; readonly subject: number | undefined };

const few = fc.nat(2);
/** Mostly the same one: what happens to one chat is what the rules are about. */
const mostlyOne = fc.oneof({ weight: 4, arbitrary: fc.constant(0) }, fc.nat(2));
const mark = fc.option(fc.record({ count: fc.nat(9), anchor: fc.constantFrom("one", "two") }), {
  nil: undefined,
});
const access: fc.Arbitrary<ChatAccess | undefined> = fc.oneof(
  { weight: 6, arbitrary: fc.constant("first-use" as const) },
  { weight: 4, arbitrary: fc.constantFrom("open", "open-claiming", "started", undefined) },
);
const claim = fc.constantFrom(undefined, "first-use" as const, "started" as const);
const settlement: fc.Arbitrary<Settlement> = fc.oneof(
  fc.record({
    fate: fc.constant("answered" as const),
    answer: fc.constant("201 {}\n"),
    mark,
    claim,
  }),
  fc.record({
    fate: fc.constant("recovered" as const),
    answer: fc.constant("201 [ ]"),
    mark: fc.constant({ count: 3, anchor: "three" }),
    claim,
  }),
  fc.record({ fate: fc.constant("not_taken" as const), mark, absent: fc.boolean(), claim }),
  fc.record({
    fate: fc.constant("unknown" as const),
    code: fc.constant("outcome_unknown"),
    markBefore: mark,
    claim,
  }),
);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 2, arbitrary: fc.record({ do: fc.constant("wait" as const), us: fc.nat(40_000_000) }) },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant("admit" as const),
      subject: mostlyOne,
      address: few,
      chat: mostlyOne,
      access,
      message: fc.option(
        fc.record({ words: fc.nat(1), key: fc.option(fc.nat(1), { nil: undefined }) }),
        { nil: undefined, freq: 8 },
      ),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({ do: fc.constant("settle" as const), ticket: mostlyOne, settlement }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("renew" as const), ticket: few, mark }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant("own" as const),
      subject: few,
      chat: mostlyOne,
      stamped: fc.boolean(),
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
      subject: fc.integer({ min: 1, max: 2 }),
      forMs: fc.integer({ min: 1, max: 60_000 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant("cut_off" as const),
      // Rarely everybody: what is refused at once tests nothing else.
      subject: fc.option(fc.integer({ min: 1, max: 2 }), { nil: undefined, freq: 8 }),
    }),
  },
);

const setting = fc.oneof(
  { weight: 4, arbitrary: fc.constant("off" as const) },
  {
    weight: 1,
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
  expect([...verdicts.keys()].toSorted()).toEqual([
    "admitted",
    "chat_busy",
    "denied",
    "key_in_progress",
    "key_reused",
    "limited",
    "replayed",
    "revoked",
    "unresolved",
  ]);
}, 120_000);

/** The use that a step makes of a chat; keys belong to their subject and chat. */
function describeUse({ access, message, subject, chat }: Step & { do: "admit" }, index: number) {
  if (access === undefined) return undefined;
  const chatId = `c${chat}` as ChatId;
  if (message === undefined) return { chatId, access };
  const keyDigest = message.key === undefined ? undefined : `k${message.key}-${subject}-${chat}`;
  const fingerprint = `f${message.words}`;
  return { chatId, access, message: { token: `token${index}`, fingerprint, keyDigest } };
}

function sessionOf(subject: number, issuedAtMs: number) {
  const subjectKey = `s${subject}`;
  return { workspaceId: 42 as WorkspaceId, subjectKey, sessionKey: `of-${subjectKey}`, issuedAtMs };
}

/** Everything but how long it took. */
function withoutTimes(outcome: AdmitOutcome) {
  return "ticket" in outcome ? { ...outcome, ticket: { ...outcome.ticket, waitedMs: 0 } } : outcome;
}
