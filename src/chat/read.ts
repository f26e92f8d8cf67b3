/** Owns reading a chat: the transcript, for whom it belongs to. */
import type { Settlement, Ticket } from "../admission/admission.ts";
import { isSameMark } from "../admission/transcript-mark.ts";
import { answerJson, type Exchange } from "../exchange.ts";
import { admitToRead, confirmClaim, notFound } from "./admit-chat.ts";
import { type ChatCaller, type ChatParts, describeFailure, traceOf } from "./chat-parts.ts";
import { presentChat } from "./present-chat.ts";
import { learnMark } from "./transcript.ts";

/** @throws Problem for every refusal and failure */
export async function readChat(
  parts: ChatParts,
  exchange: Exchange,
  caller: ChatCaller,
): Promise<Response> {
  const { upstream, hashing, exposeToolCalls } = parts;
  const ticket = await admitToRead(parts, exchange, caller);
  const startedMs = parts.clock.monotonicMs();
  const outcome = await upstream.getChat(caller.workspace, caller.chatId, traceOf(exchange));
  exchange.call = outcome.call;
  if (outcome.kind === "failed") {
    await settleRead(parts, ticket, { fate: "not_taken", mark: undefined });
    if (outcome.code === "chat_not_found") throw notFound(parts, exchange, startedMs);
    throw describeFailure(outcome);
  }
  const finding = confirmClaim(parts, caller, ticket, outcome.answer);
  if (!finding.allowed) {
    await settleRead(parts, ticket, { fate: "not_taken", mark: undefined });
    throw notFound(parts, exchange, startedMs);
  }
  const mark = learnMark(hashing, outcome.answer.messages);
  await settleRead(parts, ticket, { fate: "not_taken", mark, claim: finding.claim });
  return answerJson(exchange, 200, JSON.stringify(presentChat(outcome.answer, exposeToolCalls)));
}

/** Settles what only looked, where there is anything to be said: mostly the state knew it all. */
export async function settleRead(
  { state }: ChatParts,
  ticket: Ticket,
  settlement: Settlement & { readonly fate: "not_taken" },
): Promise<void> {
  const { mark } = settlement;
  const learnt = mark !== undefined && !isSameMark(ticket.mark, mark);
  if (ticket.newlyClaimed || learnt) await state.settle(ticket, settlement);
}
