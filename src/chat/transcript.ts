/**
 * Owns what a transcript proves: how it stands, and which of its messages is the one that was sent.
 * A wrong "this is the answer" would give one message another's, so every doubt is a no.
 */
import type { TranscriptState } from "../admission/transcript-state.ts";
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

/** The anchor of a transcript without messages. */
const NOTHING = "none";

export function markTranscript(
  hashing: Hashing,
  messages: readonly UpstreamMessage[],
): TranscriptState {
  return { count: messages.length, digest: digestAll(hashing, NOTHING, messages) };
}

/**
 * The mark of a transcript that was read while earlier messages may still be under way: undefined
 * where one has no answer yet. That answer could come after the next message, and look like its.
 */
export function learnMark(
  hashing: Hashing,
  messages: readonly UpstreamMessage[] | null | undefined,
): TranscriptState | undefined {
  return messages == null || hasUnanswered(messages)
    ? undefined
    : markTranscript(hashing, messages);
}

function hasUnanswered(messages: readonly UpstreamMessage[]): boolean {
  let asked = false;
  let open = false;
  for (const message of messages) {
    if (message.role === "user") {
      if (open) return true;
      asked = true;
    }
    // What an agent says unasked, such as its greeting, is no answer that is due.
    open = asked && !endsAnswer(message);
  }
  return open;
}

/** The mark after a message with this content was answered. */
export function advanceMark(
  hashing: Hashing,
  { count, digest }: TranscriptState,
  content: string,
  answer: readonly UpstreamMessage[],
): TranscriptState {
  const [first] = answer;
  // The reference does not say so, but an answer could begin with the message that it answers.
  const echoed = first?.role === "user" && first.content === content;
  const added = echoed ? answer : [{ role: "user", content }, ...answer];
  return { count: count + added.length, digest: digestAll(hashing, digest, added) };
}

/**
 * Looks for the answer to the message that was sent when the transcript stood at `mark`. The message
 * must be right there, after the very messages that were there then, and in the same words.
 */
export function findAnswer(
  hashing: Hashing,
  transcript: readonly UpstreamMessage[],
  { count, digest }: TranscriptState,
  content: string,
): Finding {
  const before = transcript.slice(0, count);
  if (before.length < count || digestAll(hashing, NOTHING, before) !== digest) {
    return { kind: "elsewhere" };
  }
  const [sent, ...following] = transcript.slice(count);
  if (sent === undefined) return { kind: "not_yet" };
  if (sent.role !== "user" || sent.content !== content) return { kind: "elsewhere" };
  const answer = untilNextUser(following);
  const closed = answer.length < following.length;
  const last = answer.at(-1);
  if (last !== undefined && endsAnswer(last)) return { kind: "answer", messages: answer, closed };
  return { kind: closed ? "elsewhere" : "not_yet" };
}

function untilNextUser(messages: readonly UpstreamMessage[]): readonly UpstreamMessage[] {
  const nextAt = messages.findIndex(({ role }) => role === "user");
  return nextAt === -1 ? messages : messages.slice(0, nextAt);
}

/** An answer ends in words; an agent that calls a tool goes on afterwards. */
function endsAnswer({ role, content, tool_calls: toolCalls }: UpstreamMessage): boolean {
  return (
    (role ?? "assistant") === "assistant" && Boolean(content) && (toolCalls ?? []).length === 0
  );
}

/**
 * A chain over all messages. The last one alone would not do: an agent that says the same again, and
 * an answer that listed fewer messages than the transcript has, and the mark fits in a wrong place.
 */
function digestAll(hashing: Hashing, from: string, messages: readonly UpstreamMessage[]): string {
  return messages.reduce((anchor, { role, content }) => {
    const text = JSON.stringify([anchor, role ?? "assistant", content ?? ""]);
    return hashing.digest(text).slice(0, ANCHOR_CHARS);
  }, from);
}
