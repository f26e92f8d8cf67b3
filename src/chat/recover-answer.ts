/**
 * Owns looking for a lost answer: get chat, again and again, for as long as it makes sense. It never
 * sends anything.
 */
import { isSameState, type TranscriptState } from "../admission/transcript-state.ts";
import type { Clock } from "../clock.ts";
import type { Hashing } from "../hashing.ts";
import type { UpstreamChat, UpstreamMessage } from "../upstream/message-schema.ts";
import type { CallOutcome } from "../upstream/uponai-client.ts";
import { findAnswer, markTranscript } from "./transcript.ts";

export interface RecoveryParts {
  readonly clock: Clock;
  readonly hashing: Hashing;
  readonly pause: (ms: number) => Promise<void>;
}

export interface Search {
  /** How the transcript stood before the message. */
  readonly mark: TranscriptState;
  readonly content: string;
  /** Longest time for all of it, in milliseconds. */
  readonly windowMs: number;
  /** Reads the chat, within the time given in milliseconds. */
  readonly look: (timeoutMs: number) => Promise<CallOutcome<UpstreamChat>>;
  /** Whether nobody waits any more. */
  readonly isGivenUp: () => boolean;
}

export type SearchResult =
  | {
      readonly kind: "found";
      readonly messages: readonly UpstreamMessage[];
      /** How the transcript stands now. */
      readonly mark: TranscriptState;
    }
  /** The transcript was read, and the answer is not in it. */
  | { readonly kind: "not_found" }
  /** The transcript could not be read. */
  | { readonly kind: "not_read" };

/** Pauses double from the first to the longest: most answers are there at once, or take long. */
const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 4_000;

/** One look takes no longer, so that a hanging one does not use up the window. */
const LOOK_MS_MAX = 5_000;
/** The least that a look is given, and what is left of the window for the last one. */
const LOOK_MS_MIN = 500;
/** The last look of a short window leaves a tenth of it: most answers come late, not early. */
const LAST_LOOK_SHARE = 0.1;

export async function recoverAnswer(parts: RecoveryParts, search: Search): Promise<SearchResult> {
  const { clock, hashing, pause } = parts;
  const { mark, content, windowMs, look, isGivenUp } = search;
  const deadlineMs = clock.monotonicMs() + windowMs;
  const lastLookMs = deadlineMs - Math.min(LOOK_MS_MIN, windowMs * LAST_LOOK_SHARE);
  let read = false;
  let seen: TranscriptState | undefined;
  for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS)) {
    const lookMs = Math.max(deadlineMs - clock.monotonicMs(), LOOK_MS_MIN);
    const outcome = await look(Math.min(lookMs, LOOK_MS_MAX));
    const transcript = outcome.kind === "answered" ? outcome.answer.messages : undefined;
    const finding = transcript == null ? undefined : findAnswer(hashing, transcript, mark, content);
    let sighted = false;
    if (transcript != null && finding !== undefined) {
      read = true;
      if (finding.kind === "elsewhere") return { kind: "not_found" };
      if (finding.kind === "answer") {
        const { messages, closed } = finding;
        const now = markTranscript(hashing, transcript);
        // An agent may say more in a moment: an answer is whole when a second look finds no more.
        if (closed || isSameState(seen, now)) return { kind: "found", messages, mark: now };
        sighted = seen === undefined;
        seen = now;
      }
    }
    const leftMs = lastLookMs - clock.monotonicMs();
    // Once an answer was seen, its second look is taken even so.
    if ((leftMs <= 0 || isGivenUp()) && !sighted) return { kind: read ? "not_found" : "not_read" };
    await pause(finding?.kind === "answer" ? FIRST_PAUSE_MS : Math.min(pauseMs, leftMs));
  }
}
