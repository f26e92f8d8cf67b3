/** Reads a chat: its transcript, for its owner. */
import type { Admission, Settlement } from "../admission/admission.ts";
import { isSameState } from "../admission/transcript-state.ts";
import { answerJson, type Exchange } from "../exchange.ts";
import {
  admitToRead,
  confirmOwner,
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
  const admission = await admitToRead(parts, exchange, caller, "read");
  const refusal = createRefusal(caller, admission, "read", parts.clock.monotonicMs());
  const outcome = await upstream.getChat(caller.workspace, caller.chatId, traceOf(exchange));
  exchange.call = outcome.call;
  recordCall(parts, caller, outcome);
  if (outcome.kind === "failed") {
    await settleRead(parts, admission, { disposition: "not_taken", stateAfter: undefined });
    if (outcome.code === "chat_not_found") throw refuseAbsent(parts, refusal);
    throw describeFailure(outcome, "read");
  }
  const finding = confirmOwner(parts, caller, admission, outcome.answer);
  if (!finding.allowed) {
    await settleRead(parts, admission, { disposition: "not_taken", stateAfter: undefined });
    throw await refuseForeign(parts, refusal);
  }
  const stateAfter = learnMark(hashing, outcome.answer.messages);
  const { owner } = finding;
  await settleRead(parts, admission, { disposition: "not_taken", stateAfter, owner });
  return answerJson(exchange, 200, JSON.stringify(presentChat(outcome.answer, exposeToolCalls)));
}

/** Settles what only looked, where there is anything to be said: mostly the state knew it all. */
export async function settleRead(
  { state }: ChatParts,
  admission: Admission,
  settlement: Settlement & { readonly disposition: "not_taken" },
): Promise<void> {
  const { stateAfter } = settlement;
  const learnt = stateAfter !== undefined && !isSameState(admission.transcriptState, stateAfter);
  if (admission.provisionalOwner || learnt) await state.settle(admission, settlement);
}
