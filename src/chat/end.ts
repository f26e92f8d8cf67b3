/** Ends a chat. */
import type { OwnerKind } from "../admission/admission.ts";
import { answer, type Exchange } from "../exchange.ts";
import {
  admitToRead,
  confirmOwner,
  createRefusal,
  recordCall,
  refuseAbsent,
  refuseForeign,
} from "./admit-chat.ts";
import { type ChatCaller, type ChatParts, describeFailure, traceOf } from "./chat-parts.ts";
import { settleRead } from "./read.ts";

/** Ending an ended chat is no failure. @throws Problem for every refusal and failure */
export async function endChat(
  parts: ChatParts,
  exchange: Exchange,
  caller: ChatCaller,
): Promise<Response> {
  const { upstream, clock } = parts;
  const { workspace, chatId } = caller;
  const admission = await admitToRead(parts, exchange, caller, "end");
  const refusal = createRefusal(caller, admission, "end", clock.monotonicMs());
  const settle = (owner: OwnerKind | undefined) =>
    settleRead(parts, admission, { disposition: "not_taken", stateAfter: undefined, owner });
  let owner: OwnerKind | undefined = admission.provisionalOwner ? "first-use" : undefined;
  let proven = false;

  if (admission.provisionalOwner && workspace.agentId !== undefined) {
    const seen = await upstream.getChat(workspace, chatId, traceOf(exchange));
    exchange.call = seen.call;
    recordCall(parts, caller, seen);
    if (seen.kind === "answered") {
      const finding = confirmOwner(parts, caller, admission, seen.answer);
      if (!finding.allowed) {
        await settle(undefined);
        throw await refuseForeign(parts, refusal);
      }
      owner = finding.owner;
      proven = true;
    } else if (seen.code !== "chat_not_found") {
      await settle(undefined);
      throw describeFailure(seen, "end");
    }
  }
  const outcome = await upstream.endChat(workspace, chatId, traceOf(exchange));
  exchange.call = outcome.call;
  recordCall(parts, caller, outcome);
  const absent = outcome.kind === "failed" && outcome.code === "chat_not_found";
  const ended = outcome.kind === "answered" || outcome.code === "chat_ended";
  await settle((proven || ended) && !absent ? owner : undefined);
  if (absent) throw refuseAbsent(parts, refusal);
  if (!ended) throw describeFailure(outcome, "end");
  return answer(exchange, 204, null);
}
