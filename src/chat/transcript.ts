/**
 * Owns what a transcript proves: how it stands, and which of its messages is the one that was sent.
 * A wrong "this is the answer" would give one message another's, so every doubt is a no.
 */
import type { TranscriptMark } from "../admission/transcript-mark.ts";
import type { Hashing } from "../hashing.ts";
import type { UpstreamMessage } from "../upstream/message-schema.ts";

export type Finding =
  | {
      readonly kind: "answer";
      readonly messages: readonly UpstreamMessage[];
      /** Whether the chat has gone on since: nothing can be added to it any more. */
      readonly closed: boolean;
    }
  /** It may still come. */
  | { readonly kind: "not_yet" }
  /** Another message is where it would be: it will never be found. */
  | { readonly kind: "elsewhere" };

/** 66 bits: enough to notice that a transcript is not the one that was counted. */
const ANCHOR_CHARS = 11;

export function markTranscript(
  hashing: Hashing,
  messages: readonly UpstreamMessage[],
): TranscriptMark {
  return { count: messages.length, anchor: digestLast(hashing, messages.at(-1)) };
}

/** The mark after a message with this content was answered. */
export function advanceMark(
  hashing: Hashing,
  { count }: TranscriptMark,
  content: string,
  answer: readonly UpstreamMessage[],
): TranscriptMark {
  const [first] = answer;
  // The reference does not say so, but an answer could begin with the message that it answers.
  const echoed = first?.role === "user" && first.content === content;
  return {
    count: count + answer.length + (echoed ? 0 : 1),
    anchor: digestLast(hashing, answer.at(-1) ?? { role: "user", content }),
  };
}

/**
 * Looks for the answer to the message that was sent when the transcript stood at `mark`. The message
 * must be right there, after the very message that was the last then, and in the same words.
 */
export function findAnswer(
  hashing: Hashing,
  transcript: readonly UpstreamMessage[],
  { count, anchor }: TranscriptMark,
  content: string,
): Finding {
  const before = transcript.slice(0, count);
  if (before.length < count || digestLast(hashing, before.at(-1)) !== anchor) {
    return { kind: "elsewhere" };
  }
  const [sent, ...following] = transcript.slice(count);
  if (sent === undefined) return { kind: "not_yet" };
  if (sent.role !== "user" || sent.content !== content) return { kind: "elsewhere" };
  const nextAt = following.findIndex(({ role }) => role === "user");
  const answer = nextAt === -1 ? following : following.slice(0, nextAt);
  if (isComplete(answer)) return { kind: "answer", messages: answer, closed: nextAt !== -1 };
  return { kind: nextAt === -1 ? "not_yet" : "elsewhere" };
}

/** An answer ends in words; an agent that calls a tool goes on afterwards. */
function isComplete(answer: readonly UpstreamMessage[]): boolean {
  const last = answer.at(-1);
  if (last === undefined || (last.role ?? "assistant") !== "assistant") return false;
  return Boolean(last.content) && (last.tool_calls ?? []).length === 0;
}

function digestLast(hashing: Hashing, message: UpstreamMessage | undefined): string {
  if (message === undefined) return "none";
  const { role, content } = message;
  const text = JSON.stringify([role ?? "assistant", content ?? ""]);
  return hashing.digest(text).slice(0, ANCHOR_CHARS);
}
