/** Reads a chat: its transcript, for its owner. */
import type { Settlement, Ticket } from "../admission/admission.ts";
import { isSameMark } from "../admission/transcript-mark.ts";
import { answerJson, type Exchange } from "../exchange.ts";
import {
  admitToRead,
  confirmClaim,
  createRefusal,
  recordCall,
  refuseAbsent,
  refuseForeign,
} from "./admit-chat.ts";
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
  const ticket = await admitToRead(parts, exchange, caller, "read");
  const refusal = createRefusal(caller, ticket, "read", parts.clock.monotonicMs());
  const outcome = await upstream.getChat(caller.workspace, caller.chatId, traceOf(exchange));
  exchange.call = outcome.call;
  recordCall(parts, caller, outcome);
  if (outcome.kind === "failed") {
    await settleRead(parts, ticket, { fate: "not_taken", mark: undefined });
    if (outcome.code === "chat_not_found") throw refuseAbsent(parts, refusal);
    throw describeFailure(outcome, "read");
  }
  const finding = confirmClaim(parts, caller, ticket, outcome.answer);
  if (!finding.allowed) {
    await settleRead(parts, ticket, { fate: "not_taken", mark: undefined });
    throw await refuseForeign(parts, refusal);
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
