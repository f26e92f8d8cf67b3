/** How sending ends: what is answered, and how the request is settled. */
import type { OwnerKind, Settlement, SettleOutcome } from "../admission/admission.ts";
import type { TranscriptState } from "../admission/transcript-state.ts";
import { answerJson, type Exchange } from "../exchange.ts";
import { Problem, type ProblemCode } from "../problem.ts";
import type { Failure } from "../upstream/classify-reply.ts";
import type { UpstreamMessage } from "../upstream/message-schema.ts";
import { type ChatParts, describeFailure } from "./chat-parts.ts";
import { presentMessages } from "./present-messages.ts";
import type { Reply } from "./stored-answer.ts";

/** What is to be answered, and how the request is settled. */
export interface Sent {
  readonly result: Reply & {
    readonly recovered?: true;
    readonly retryAfterSeconds?: number;
    /** The message was certainly not taken. */
    readonly unsent?: true;
    /** The chat was started by another owner; the code is that of a chat that does not exist. */
    readonly foreign?: true;
  };
  readonly settlement: Settlement;
}

/** What is known of the chat before the message goes. */
export interface Known {
  /** How its transcript stands; undefined where nobody knows. */
  readonly mark: TranscriptState | undefined;
  /** How a provisional owner is confirmed, once UponAI has proven that the chat exists. */
  readonly owner: OwnerKind | undefined;
  /** Whether UponAI has shown the chat to this request. */
  readonly proven: boolean;
}

export function notTaken({ code, retryAfterSeconds }: Failure, known: Known): Sent {
  const absent = code === "chat_not_found";
  const wait = retryAfterSeconds === undefined ? {} : { retryAfterSeconds };
  return {
    result: { kind: "problem", code, unsent: true, ...wait },
    settlement: {
      disposition: "not_taken",
      stateAfter: absent ? undefined : known.mark,
      // A failure proves no chat: a request that is refused must not keep other subjects out.
      owner: absent ? undefined : provenOwner(known),
    },
  };
}

export function unknown(code: ProblemCode, known: Known): Sent {
  const { mark: stateBefore } = known;
  return {
    result: { kind: "problem", code },
    settlement: { disposition: "unknown", code, stateBefore, owner: provenOwner(known) },
  };
}

/** The owner that a failure leaves: only one whose chat UponAI has shown before. */
export function provenOwner({ owner, proven }: Known): OwnerKind | undefined {
  return proven ? owner : undefined;
}

export function presentAsJson(
  { exposeToolCalls }: ChatParts,
  messages: readonly UpstreamMessage[],
): string {
  return JSON.stringify({ messages: presentMessages(messages, exposeToolCalls) });
}

/** @throws Problem for whatever is no answer */
export function respond(
  exchange: Exchange,
  result: Sent["result"],
  settled: SettleOutcome,
): Response {
  if (result.kind === "problem") {
    throw describeFailure(result, result.unsent === true ? "unsent" : "send");
  }
  if (result.recovered !== true) return answerJson(exchange, 201, result.json);
  // Only the state knows whether another message with the same words was let in meanwhile, to which
  // this may be the answer. A lease that merely ran out is no such thing.
  if (settled === "contested" || settled === "unavailable") throw new Problem("outcome_unknown");
  exchange.recovered = true;
  return answerJson(exchange, 201, result.json, { "Message-Recovered": "true" });
}
