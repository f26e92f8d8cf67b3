/**
 * Computes the state of a transcript (count and digest), and finds the answer to a message in it. A
 * wrong match would give one message the answer of another, so in doubt nothing matches.
 */
import type { TranscriptState } from "../admission/admission.ts";
import type { Hashing } from "../hashing.ts";
import type { ProviderMessage } from "./chat-provider.ts";

/** Where the answer to a message is in a transcript. */
export type AnswerLookup =
  | {
      readonly kind: "answer";
      readonly messages: readonly ProviderMessage[];
      /** Whether the user's next message follows, so that the answer cannot grow any more. */
      readonly closed: boolean;
    }
  /** It may still be added. */
  | { readonly kind: "not_yet" }
  /** Another message is in its place, or the transcript is another one: it will never be found. */
  | { readonly kind: "elsewhere" };

/** 66 bits: enough to detect that a transcript is not the one that was counted. */
const DIGEST_CHARS = 11;

/** The digest of a transcript without messages. */
const EMPTY_DIGEST = "none";

/** Whether both are known and equal. */
export function isSameState(one: TranscriptState | undefined, other: TranscriptState): boolean {
  return one?.count === other.count && one.digest === other.digest;
}

/** Computes the state of a transcript. */
export function computeTranscriptState(
  hashing: Hashing,
  messages: readonly ProviderMessage[],
): TranscriptState {
  return { count: messages.length, digest: digestAll(hashing, EMPTY_DIGEST, messages) };
}

/**
 * Computes the state of a transcript that was read while earlier messages may be in progress.
 *
 * @returns undefined if a message has no answer yet: that answer could follow the next message and
 *   look like its answer
 */
export function computeAnsweredState(
  hashing: Hashing,
  messages: readonly ProviderMessage[] | null | undefined,
): TranscriptState | undefined {
  return messages == null || hasUnanswered(messages)
    ? undefined
    : computeTranscriptState(hashing, messages);
}

function hasUnanswered(messages: readonly ProviderMessage[]): boolean {
  let asked = false;
  let open = false;
  for (const message of messages) {
    if (message.role === "user") {
      if (open) return true;
      asked = true;
    }
    // Messages of the agent before the first question, such as a greeting, await no answer.
    open = asked && !endsAnswer(message);
  }
  return open;
}

/** Computes the state after a message with this content was answered. */
export function advanceTranscriptState(
  hashing: Hashing,
  { count, digest }: TranscriptState,
  content: string,
  answer: readonly ProviderMessage[],
): TranscriptState {
  const [first] = answer;
  // The reference does not exclude that an answer begins with the message that it answers.
  const echoed = first?.role === "user" && first.content === content;
  const added = echoed ? answer : [{ role: "user", content }, ...answer];
  return { count: count + added.length, digest: digestAll(hashing, digest, added) };
}

/**
 * Finds the answer to a message. The message must directly follow the transcript as it was before,
 * with the same content.
 *
 * @param state transcript state before the message
 */
export function findAnswer(
  hashing: Hashing,
  transcript: readonly ProviderMessage[],
  { count, digest }: TranscriptState,
  content: string,
): AnswerLookup {
  const before = transcript.slice(0, count);
  if (before.length < count || digestAll(hashing, EMPTY_DIGEST, before) !== digest) {
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

function untilNextUser(messages: readonly ProviderMessage[]): readonly ProviderMessage[] {
  const nextAt = messages.findIndex(({ role }) => role === "user");
  return nextAt === -1 ? messages : messages.slice(0, nextAt);
}

/** Whether a message can end an answer: it has text, and no tool call after which more follows. */
function endsAnswer({ role, content, toolCalls }: ProviderMessage): boolean {
  return (
    (role ?? "assistant") === "assistant" && Boolean(content) && (toolCalls ?? []).length === 0
  );
}

/**
 * Computes a chained digest over all messages. A digest of the last message alone would not do: if an
 * agent repeats a message, and an answer lists fewer messages than the transcript has, the state
 * would match in a wrong place.
 *
 * @param from digest of the messages before these
 */
function digestAll(hashing: Hashing, from: string, messages: readonly ProviderMessage[]): string {
  return messages.reduce((digest, { role, content }) => {
    const text = JSON.stringify([digest, role ?? "assistant", content ?? ""]);
    return hashing.digest(text).slice(0, DIGEST_CHARS);
  }, from);
}
