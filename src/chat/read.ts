/** Reads a chat with its transcript. */
import { answerJson, type RequestContext, traceOf } from "../request-context.ts";
import { admitToRead, confirmOwner, settleRead } from "./admit-chat.ts";
import { type ChatCaller, type ChatParts, describeFailure } from "./chat-parts.ts";
import { createRefusal, recordCall, refuseAbsent, refuseForeign } from "./not-found-delay.ts";
import { presentChat } from "./present-chat.ts";
import { computeAnsweredState } from "./transcript.ts";

/** Answers `GET /chat/:chatId`. @throws Problem for every refusal and failure */
export async function readChat(
  parts: ChatParts,
  context: RequestContext,
  caller: ChatCaller,
): Promise<Response> {
  const { provider, hashing, exposeToolCalls } = parts;
  const { workspace, chatId } = caller;
  const admission = await admitToRead(parts, context, caller, "read");
  const refusal = createRefusal(workspace, admission, "read", parts.clock.monotonicMs());
  const outcome = await provider.read(workspace, chatId, traceOf(context));
  context.call = outcome.call;
  recordCall(parts, workspace, outcome);
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
  const stateAfter = computeAnsweredState(hashing, outcome.answer.messages);
  const { owner } = finding;
  const settlement = { disposition: "not_taken", stateAfter, owner } as const;
  const { allowed } = await settleRead(parts, admission, settlement);
  if (!allowed) throw await refuseForeign(parts, refusal);
  return answerJson(context, 200, JSON.stringify(presentChat(outcome.answer, exposeToolCalls)));
}
