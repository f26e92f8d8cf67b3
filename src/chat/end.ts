/** Ends a chat. */
import type { Claim } from "../admission/admission.ts";
import { answer, type Exchange } from "../exchange.ts";
import {
  admitToRead,
  confirmClaim,
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
  const ticket = await admitToRead(parts, exchange, caller, "end");
  const refusal = createRefusal(caller, ticket, "end", clock.monotonicMs());
  const settle = (claim: Claim | undefined) =>
    settleRead(parts, ticket, { fate: "not_taken", mark: undefined, claim });
  let claim: Claim | undefined = ticket.newlyClaimed ? "first-use" : undefined;

  if (ticket.newlyClaimed && workspace.agentId !== undefined) {
    const seen = await upstream.getChat(workspace, chatId, traceOf(exchange));
    exchange.call = seen.call;
    recordCall(parts, caller, seen);
    if (seen.kind === "answered") {
      const finding = confirmClaim(parts, caller, ticket, seen.answer);
      if (!finding.allowed) {
        await settle(undefined);
        throw await refuseForeign(parts, refusal);
      }
      claim = finding.claim;
    } else if (seen.code !== "chat_not_found") {
      await settle(undefined);
      throw describeFailure(seen, "end");
    }
  }
  const outcome = await upstream.endChat(workspace, chatId, traceOf(exchange));
  exchange.call = outcome.call;
  recordCall(parts, caller, outcome);
  const absent = outcome.kind === "failed" && outcome.code === "chat_not_found";
  await settle(absent ? undefined : claim);
  if (absent) throw refuseAbsent(parts, refusal);
  if (outcome.kind === "failed" && outcome.code !== "chat_ended")
    throw describeFailure(outcome, "end");
  return answer(exchange, 204, null);
}
