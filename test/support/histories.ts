/** Generators of random histories of state operations, on which all implementations must agree. */
import * as fc from "fast-check";

import type { ChatAccess, Settlement, TranscriptState } from "../../src/admission/admission.ts";
import { compilePolicy, compileReplayPolicies } from "../../src/admission/limit-policy.ts";
import type { ChatId, WorkspaceId } from "../../src/branded.ts";

export type Step =
  | { readonly do: "wait"; readonly us: number }
  | {
      readonly do: "admit";
      readonly subject: number;
      readonly address: number;
      readonly chat: number;
      readonly access: ChatAccess | undefined;
      readonly message: { readonly words: number; readonly key: number | undefined } | undefined;
      /**
       * The admission's answer comes too late and it is withdrawn: with its answer, or without it.
       */
      readonly withdrawn: "heard" | "unheard" | undefined;
    }
  | { readonly do: "settle"; readonly admission: number; readonly settlement: Settlement }
  | {
      readonly do: "renew";
      readonly admission: number;
      readonly stateBefore: TranscriptState | undefined;
    }
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
/** Chat ids, mostly the same one: the rules are about operations on one chat. */
const mostlyOne = fc.oneof({ weight: 4, arbitrary: fc.constant(0) }, fc.nat(2));
const state = fc.option(fc.record({ count: fc.nat(9), digest: fc.constantFrom("one", "two") }), {
  nil: undefined,
});
const access: fc.Arbitrary<ChatAccess | undefined> = fc.oneof(
  { weight: 6, arbitrary: fc.constant("first-use" as const) },
  { weight: 4, arbitrary: fc.constantFrom("open", "open-first-use", "started", undefined) },
);
const owner = fc.constantFrom(undefined, "first-use" as const, "started" as const);
/**
 * Sizes of answers: stored for free, within the bytes that admission reserved, beyond, and too
 * large.
 */
const answer = fc.constantFrom(
  "201 {}\n",
  `201 ${"x".repeat(900)}`,
  `201 ${"ü".repeat(4_000)}`,
  `201 ${"x".repeat(70_000)}`,
);
const settlement: fc.Arbitrary<Settlement> = fc.oneof(
  fc.record({
    disposition: fc.constant("taken" as const),
    source: fc.constant("reply" as const),
    answer,
    stateBefore: state,
    stateAfter: state,
    owner,
  }),
  fc.record({
    disposition: fc.constant("taken" as const),
    source: fc.constant("transcript" as const),
    answer,
    stateBefore: state,
    stateAfter: fc.constant({ count: 3, digest: "three" }),
    owner,
  }),
  fc.record({ disposition: fc.constant("not_taken" as const), stateAfter: state, owner }),
  fc.record({
    disposition: fc.constant("unknown" as const),
    code: fc.constant("outcome_unknown"),
    stateBefore: state,
    owner,
  }),
);
/** One operation, or a pause. */
export const step: fc.Arbitrary<Step> = fc.oneof(
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
        fc.record({ words: fc.nat(2), key: fc.option(fc.nat(1), { nil: undefined }) }),
        { nil: undefined, freq: 8 },
      ),
      withdrawn: fc
        .option(fc.constantFrom("heard" as const, "unheard" as const), {
          nil: undefined,
          freq: 1,
        })
        .chain((how) => fc.constantFrom(undefined, undefined, undefined, how)),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({ do: fc.constant("settle" as const), admission: mostlyOne, settlement }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("renew" as const),
      admission: few,
      stateBefore: state,
    }),
  },
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
      // Revocations of all sessions are rare: after one, requests are refused at once and test
      // nothing else.
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
export const settings = fc.record({
  session: setting,
  sessionDaily: setting,
  workspace: setting,
  ip: setting,
});

/** A low limit, so that histories reach it. */
export const replays = compileReplayPolicies({ quota: 2, windowSeconds: 60, burst: 2 });

const compiled = compilePolicy("auth-failures", { quota: 3, windowSeconds: 60, burst: 2 });
if (compiled === undefined) throw new Error("the policy is on");
export const authPolicy = compiled;

/** The chat use of a step. Idempotency keys belong to one subject and chat. */
export function describeUse(
  { access, message, subject, chat }: Step & { do: "admit" },
  index: number,
) {
  if (access === undefined) return undefined;
  const chatId = `c${chat}` as ChatId;
  if (message === undefined) return { chatId, access };
  const keyDigest = message.key === undefined ? undefined : `k${message.key}-${subject}-${chat}`;
  const fingerprint = `f${message.words}`;
  return { chatId, access, message: { token: `token${index}`, fingerprint, keyDigest } };
}

export function sessionOf(subject: number, issuedAtMs: number) {
  const subjectKey = `s${subject}`;
  return { workspaceId: 42 as WorkspaceId, subjectKey, sessionKey: `of-${subjectKey}`, issuedAtMs };
}

/** Verdicts that the histories must cause at least once, so that no rule is left out by chance. */
export const ALL_VERDICTS = [
  "admitted",
  "chat_busy",
  "denied",
  "key_in_progress",
  "key_reused",
  "limited",
  "replayed",
  "revoked",
  "unresolved",
] as const;
