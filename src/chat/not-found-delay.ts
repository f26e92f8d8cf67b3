/**
 * Answers `chat_not_found` so that its time does not tell whether the chat exists. A chat of another
 * owner is refused without a call to UponAI, and a quick refusal would show that the chat exists. So
 * it is delayed by the time that the calls of the same request take for an absent chat.
 */
import type { Admission, ChatUse } from "../admission/admission.ts";
import type { Clock } from "../clock.ts";
import { Problem } from "../problem.ts";
import type { Workspace } from "../workspace.ts";
import type { CallOutcome, ProviderAccount } from "./chat-provider.ts";

/** What a request does with a chat. */
export type ChatPurpose = "read" | "end" | "send";

/**
 * A call that a request makes for a chat that UponAI does not have. `check` reads the chat before the
 * request's own call; `read`, `send` and `end` are that call.
 */
export type AbsentCall = "check" | "read" | "send" | "end";

/** Durations of calls and requests, per account: a slow workspace does not slow down another. */
export interface NotFoundDelay {
  /**
   * Records how long a request took until UponAI answered that there is no such chat.
   *
   * @param calls the calls that the request made, in order
   * @param ms milliseconds from admission to the answer
   */
  recordRequest(account: ProviderAccount, calls: readonly AbsentCall[], ms: number): void;
  /** Records how long UponAI took to read or end any chat, in milliseconds. */
  recordCall(account: ProviderAccount, ms: number): void;
  /**
   * Estimates how long a request with these calls takes for an absent chat, in milliseconds from
   * admission; 0 to 2,000. It is a random time between two of the last sixteen such requests; before
   * the first one, the sum of such times of recent calls; before the first call, 150 ms for each.
   */
  estimate(account: ProviderAccount, calls: readonly AbsentCall[]): number;
}

/** More than one: a constant delay would show that the refusal is not UponAI's. */
const SAMPLES_MAX = 16;

/** A delayed request counts for `MAX_IN_FLIGHT`; this bounds the effect of a slow UponAI. */
const DELAY_MS_MAX = 2_000;

/** Typical time of a call over the public internet with a database read, in milliseconds. */
const FIRST_ESTIMATE_MS = 150;

interface AccountSamples {
  readonly calls: Samples;
  /** The key is the list of calls that the request made. */
  readonly requests: Map<string, Samples>;
}

/**
 * Creates the record of durations of all accounts; it keeps sixteen of each kind.
 *
 * @param random returns a number from 0 up to but not including 1
 */
export function createNotFoundDelay(random: () => number = Math.random): NotFoundDelay {
  const accounts = new WeakMap<ProviderAccount, AccountSamples>();

  const samplesOf = (account: ProviderAccount): AccountSamples => {
    const known = accounts.get(account);
    if (known !== undefined) return known;
    const samples = { calls: createSamples(random), requests: new Map() };
    accounts.set(account, samples);
    return samples;
  };

  return {
    recordRequest(account, calls, ms) {
      const { requests } = samplesOf(account);
      const kind = calls.join();
      const samples = requests.get(kind) ?? createSamples(random);
      requests.set(kind, samples);
      samples.add(ms);
    },
    recordCall(account, ms) {
      samplesOf(account).calls.add(ms);
    },
    estimate(account, calls) {
      const samples = samplesOf(account);
      let ms = samples.requests.get(calls.join())?.draw();
      if (ms === undefined) {
        ms = calls.reduce((sum) => sum + (samples.calls.draw() ?? FIRST_ESTIMATE_MS), 0);
      }
      return Math.min(ms, DELAY_MS_MAX);
    },
  };
}

interface Samples {
  add(ms: number): void;
  /** Draws a random time between two of the last sixteen; undefined if there is none. */
  draw(): number | undefined;
}

/**
 * Creates a record of times that never returns one as it was recorded: a client that has timed its own
 * requests for absent chats would recognise the times and their order.
 */
function createSamples(random: () => number): Samples {
  const times: number[] = [];
  let written = 0;
  const pick = () => times[Math.floor(random() * times.length)];
  return {
    add(ms) {
      times[written % SAMPLES_MAX] = ms;
      written += 1;
    },
    draw() {
      const [one, other] = [pick(), pick()];
      return one === undefined || other === undefined ? undefined : one + (other - one) * random();
    },
  };
}

export interface RefusalParts {
  readonly notFoundDelay: NotFoundDelay;
  readonly clock: Clock;
  readonly pause: (ms: number) => Promise<void>;
}

/** What the time of a refusal depends on. */
export interface Refusal {
  readonly workspace: Workspace;
  readonly use: ChatUse;
  readonly purpose: ChatPurpose;
  /** When the request was admitted or denied, in monotonic milliseconds. */
  readonly startedMs: number;
  /** Whether the state has no confirmed owner. If it has one, fewer calls are made than listed. */
  readonly unknown: boolean;
}

/**
 * Creates the refusal of an admitted request, in case that UponAI or the owner stamp refuses it.
 *
 * @param startedMs when the request was admitted, in monotonic milliseconds
 */
export function createRefusal(
  workspace: Workspace,
  { request, provisionalOwner }: Admission,
  purpose: ChatPurpose,
  startedMs: number,
): Refusal {
  if (request.chat === undefined) throw new Error("a refusal needs a request for a chat");
  return { workspace, use: request.chat, purpose, startedMs, unknown: provisionalOwner };
}

/** Returns the answer for a chat that UponAI does not have, and records the request's time. */
export function refuseAbsent({ notFoundDelay, clock }: RefusalParts, refusal: Refusal): Problem {
  if (refusal.unknown) {
    const elapsedMs = clock.monotonicMs() - refusal.startedMs;
    notFoundDelay.recordRequest(refusal.workspace, listAbsentCalls(refusal), elapsedMs);
  }
  return new Problem("chat_not_found");
}

/** Returns the answer for a chat of another owner, after the time that an absent chat takes. */
export async function refuseForeign(
  { notFoundDelay, clock, pause }: RefusalParts,
  refusal: Refusal,
): Promise<Problem> {
  const ms = notFoundDelay.estimate(refusal.workspace, listAbsentCalls(refusal));
  const leftMs = refusal.startedMs + ms - clock.monotonicMs();
  if (leftMs > 0) await pause(leftMs);
  return new Problem("chat_not_found");
}

/**
 * Records how long UponAI took for a call, if its answer depends on the chat: other failures take
 * another time than "no such chat".
 */
export function recordCall(
  { notFoundDelay }: RefusalParts,
  account: ProviderAccount,
  outcome: CallOutcome<unknown>,
): void {
  const { kind, call } = outcome;
  if (kind === "failed" && outcome.code !== "chat_not_found" && outcome.code !== "chat_ended") {
    return;
  }
  notFoundDelay.recordCall(account, call.ms);
}

/**
 * Lists the calls that a request makes for a chat that neither UponAI nor the state has. It must
 * match what `admitToChat`, `sendMessage`, `readChat` and `endChat` do.
 */
function listAbsentCalls({ workspace, use, purpose }: Refusal): readonly AbsentCall[] {
  const hasAgent = workspace.agentId !== undefined;
  // The state denies such a chat at once; only its owner stamp could allow it.
  if (use.access === "started") return hasAgent ? ["check"] : [];
  switch (purpose) {
    case "read":
      return ["read"];
    case "end":
      return hasAgent ? ["check", "end"] : ["end"];
    case "send":
      return hasAgent || use.message?.keyDigest !== undefined ? ["check", "send"] : ["send"];
  }
}
