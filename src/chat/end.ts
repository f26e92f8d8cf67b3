/** Ends a chat. */
import type { OwnerKind } from "../admission/admission.ts";
import { answer, type RequestContext, traceOf } from "../request-context.ts";
import { admitToRead, confirmOwner, settleRead } from "./admit-chat.ts";
import { type ChatCaller, type ChatParts, describeFailure } from "./chat-parts.ts";
import { createRefusal, recordCall, refuseAbsent, refuseForeign } from "./not-found-delay.ts";

/**
 * Answers `POST /chat/:chatId/end`. A chat that has ended before is a success.
 *
 * @throws Problem for every refusal and failure
 */
export async function endChat(
  parts: ChatParts,
  context: RequestContext,
  caller: ChatCaller,
): Promise<Response> {
  const { provider, clock } = parts;
  const { workspace, chatId } = caller;
  const admission = await admitToRead(parts, context, caller, "end");
  const refusal = createRefusal(workspace, admission, "end", clock.monotonicMs());
  const settle = (owner: OwnerKind | undefined) =>
    settleRead(parts, admission, { disposition: "not_taken", stateAfter: undefined, owner });
  let owner: OwnerKind | undefined = admission.provisionalOwner ? "first-use" : undefined;
  let proven = false;

  if (admission.provisionalOwner && workspace.agentId !== undefined) {
    const read = await provider.read(workspace, chatId, traceOf(context));
    context.call = read.call;
    recordCall(parts, workspace, read);
    if (read.kind === "answered") {
      const finding = confirmOwner(parts, caller, admission, read.answer);
      if (!finding.allowed) {
        await settle(undefined);
        throw await refuseForeign(parts, refusal);
      }
      owner = finding.owner;
      proven = true;
    } else if (read.code !== "chat_not_found") {
      await settle(undefined);
      throw describeFailure(read, "end");
    }
  }
  const outcome = await provider.end(workspace, chatId, traceOf(context));
  context.call = outcome.call;
  recordCall(parts, workspace, outcome);
  const absent = outcome.kind === "failed" && outcome.code === "chat_not_found";
  const ended = outcome.kind === "answered" || outcome.code === "chat_ended";
  const { allowed } = await settle((proven || ended) && !absent ? owner : undefined);
  if (absent) throw refuseAbsent(parts, refusal);
  if (!allowed) throw await refuseForeign(parts, refusal);
  if (!ended) throw describeFailure(outcome, "end");
  return answer(context, 204, null);
}
