/**
 * Recovers a lost answer: reads the chat repeatedly until the answer to the message is in its
 * transcript, or the search ends. It never sends a message.
 */
import type { Admission, OwnerKind, TranscriptState } from "../admission/admission.ts";
import type { Clock } from "../clock.ts";
import type { Preference } from "../http/prefer.ts";
import { type RequestContext, traceOf } from "../request-context.ts";
import type { Hashing } from "../hashing.ts";
import { confirmOwner, type KnownChat, type OwnerFinding } from "./admit-chat.ts";
import type { ChatCaller, ChatParts } from "./chat-parts.ts";
import type { CallOutcome, ProviderChat, ProviderMessage } from "./chat-provider.ts";
import { computeTranscriptState, findAnswer, isSameState } from "./transcript.ts";

export type Recovery =
  | {
      readonly kind: "found";
      readonly messages: readonly ProviderMessage[];
      /** What the transcript proves, for the settlement. */
      readonly settleWith: {
        readonly stateBefore: TranscriptState;
        readonly stateAfter: TranscriptState;
        readonly owner: OwnerKind | undefined;
      };
    }
  /** `foreign`: another owner started the chat. The others: see `SearchOutcome`. */
  | { readonly kind: "not_found" | "not_read" | "foreign"; readonly known: KnownChat };

/** Searches for the answer to a message that was sent when the chat was as `known` says. */
export async function recoverAnswer(
  parts: ChatParts,
  context: RequestContext,
  message: ChatCaller & {
    readonly content: string;
    readonly preference: Preference | undefined;
  },
  { admission, known }: { readonly admission: Admission; readonly known: KnownChat },
): Promise<Recovery> {
  const { workspace, chatId, content } = message;
  const { stateBefore } = known;
  // Without it, an answer could be another message's.
  if (stateBefore === undefined) return { kind: "not_found", known };
  const trace = traceOf(context);
  let finding: OwnerFinding | undefined;
  const outcome = await searchTranscript(parts, {
    stateBefore,
    content,
    windowMs: parts.recoveryWindowMs,
    readChat: async (timeoutMsMax) => {
      const recover = { purpose: "recover", timeoutMsMax } as const;
      const chat = await parts.provider.read(workspace, chatId, trace, recover);
      // A sender has confirmed the owner before it sent, if that was needed; a recoverer does it here.
      if (chat.kind === "answered" && !known.proven) {
        finding = confirmOwner(parts, message, admission, chat.answer);
      }
      return chat;
    },
    // The next request with this key searches again, so an early end loses nothing. With a bounded
    // wait the next request is expected, and waits for this search.
    isGivenUp: () =>
      finding?.allowed === false ||
      (message.preference === undefined && context.request.signal.aborted) ||
      parts.gate.draining,
  });
  if (finding?.allowed === false) {
    return { kind: "foreign", known: { stateBefore, owner: undefined, proven: true } };
  }
  const proven =
    finding === undefined ? known : { stateBefore, owner: finding.owner, proven: true };
  if (outcome.kind !== "found") return { kind: outcome.kind, known: proven };
  const { messages, stateAfter } = outcome;
  return { kind: "found", messages, settleWith: { stateBefore, stateAfter, owner: proven.owner } };
}

export interface SearchParts {
  readonly clock: Clock;
  readonly hashing: Hashing;
  readonly pause: (ms: number) => Promise<void>;
}

export interface Search {
  /** Transcript state before the message. */
  readonly stateBefore: TranscriptState;
  readonly content: string;
  /** Longest time for the search, in milliseconds. */
  readonly windowMs: number;
  /** Reads the chat within the given time, in milliseconds. */
  readonly readChat: (timeoutMs: number) => Promise<CallOutcome<ProviderChat>>;
  /** Whether the search may end early, because no client waits for it any more. */
  readonly isGivenUp: () => boolean;
}

export type SearchOutcome =
  | {
      readonly kind: "found";
      readonly messages: readonly ProviderMessage[];
      /** Transcript state now. */
      readonly stateAfter: TranscriptState;
    }
  /** The transcript was read, and the answer is not in it. */
  | { readonly kind: "not_found" }
  /** The transcript could not be read. */
  | { readonly kind: "not_read" };

/** Pauses double from the first to the longest: most answers are there at once, or take long. */
const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 4_000;

/** Longest time for one read, so that a read that hangs does not use up the window. */
const READ_MS_MAX = 5_000;
/** Shortest time for one read, and the part of the window that is left for the last read. */
const READ_MS_MIN = 500;
/** Part of a short window that is left for the last read: most answers come late, not early. */
const LAST_READ_SHARE = 0.1;

/**
 * Reads the chat until the answer is complete or the window ends. The search lasts no longer than its
 * window and one shortest read.
 */
export async function searchTranscript(
  { clock, hashing, pause }: SearchParts,
  { stateBefore, content, windowMs, readChat, isGivenUp }: Search,
): Promise<SearchOutcome> {
  const deadlineMs = clock.monotonicMs() + windowMs;
  const lastReadMs = deadlineMs - Math.min(READ_MS_MIN, windowMs * LAST_READ_SHARE);
  let read = false;
  /** Transcript state when an answer was first or last found. */
  let found: TranscriptState | undefined;
  for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS)) {
    const readMs = Math.max(deadlineMs - clock.monotonicMs(), READ_MS_MIN);
    const outcome = await readChat(Math.min(readMs, READ_MS_MAX));
    const transcript = outcome.kind === "answered" ? outcome.answer.messages : undefined;
    const lookup =
      transcript == null ? undefined : findAnswer(hashing, transcript, stateBefore, content);
    let foundFirst = false;
    if (transcript != null && lookup !== undefined) {
      read = true;
      if (lookup.kind === "elsewhere") return { kind: "not_found" };
      if (lookup.kind === "answer") {
        const { messages, closed } = lookup;
        const stateAfter = computeTranscriptState(hashing, transcript);
        // The agent may add messages: an answer is complete when a second read finds the same.
        if (closed || isSameState(found, stateAfter))
          return { kind: "found", messages, stateAfter };
        foundFirst = found === undefined;
        found = stateAfter;
      }
    }
    const leftMs = lastReadMs - clock.monotonicMs();
    // After an answer was found first, the second read is made even if the time is over.
    if ((leftMs <= 0 || isGivenUp()) && !foundFirst) {
      return { kind: read ? "not_found" : "not_read" };
    }
    await pause(lookup?.kind === "answer" ? FIRST_PAUSE_MS : Math.min(pauseMs, leftMs));
  }
}
