/** Learns what has to be known before a message goes: the transcript's state, and the chat's owner. */
import type { Admission } from "../admission/admission.ts";
import type { Exchange } from "../exchange.ts";
import type { Failure } from "../upstream/classify-reply.ts";
import { confirmOwner, recordCall } from "./admit-chat.ts";
import { type ChatCaller, type ChatParts, traceOf } from "./chat-parts.ts";
import { type Known, notTaken, type Sent } from "./sent.ts";
import { learnMark } from "./transcript.ts";
import type { Renew } from "./while-leased.ts";

export interface Prepared extends Known {
  readonly kind: "ready";
  /** The transcript was to be counted, and could not be read. */
  readonly unread?: true;
}

/** Longest look at a chat before a message is sent into it, in milliseconds. */
const PREPARE_MS_MAX = 5_000;

/**
 * Learns what has to be known before the message: how the transcript stands, for a message with a
 * key, and whose the chat is, where it may have been started by somebody else. Mostly the state knows
 * both, and nothing is asked.
 */
export async function prepareMessage(
  parts: ChatParts,
  exchange: Exchange,
  message: ChatCaller & { readonly idempotencyKey: string | undefined },
  { admission, renew }: { readonly admission: Admission; readonly renew: Renew },
): Promise<Prepared | { readonly kind: "stopped"; readonly sent: Sent }> {
  const { workspace, chatId, idempotencyKey } = message;
  const { provisionalOwner, contested, transcriptState: mark } = admission;
  const mustConfirm = provisionalOwner && workspace.agentId !== undefined;
  const mustCount = idempotencyKey !== undefined && mark === undefined && !contested;
  const owner = provisionalOwner ? ("first-use" as const) : undefined;
  const unseen: Prepared = { kind: "ready", mark, owner, proven: false };
  if (!mustConfirm && !mustCount) return unseen;

  const trace = traceOf(exchange);
  const look = { timeoutMsMax: PREPARE_MS_MAX, repeated: false };
  const seen = await parts.upstream.getChat(workspace, chatId, trace, look);
  recordCall(parts, message, seen);
  if (seen.kind === "failed") {
    // That there is no such chat is left for the message itself to be told.
    if (!mustConfirm || seen.code === "chat_not_found") {
      return mustCount ? { ...unseen, unread: true } : unseen;
    }
    exchange.call = seen.call;
    return { kind: "stopped", sent: notTaken(seen, { mark, owner: undefined, proven: false }) };
  }
  const finding = confirmOwner(parts, message, admission, seen.answer);
  if (!finding.allowed) {
    const foreign: Failure = { code: "chat_not_found", fate: "not_taken" };
    const sent = notTaken(foreign, { mark, owner: undefined, proven: true });
    return { kind: "stopped", sent: { ...sent, result: { ...sent.result, foreign: true } } };
  }
  const confirmed = { owner: finding.owner, proven: true };
  if (!mustCount) return { kind: "ready", mark, ...confirmed };
  const learnt = learnMark(parts.hashing, seen.answer.messages);
  if (learnt === undefined) return { kind: "ready", mark, ...confirmed };
  // Not waited for: it only matters if this instance does not live to settle.
  renew(learnt);
  return { kind: "ready", mark: learnt, ...confirmed };
}
