/** Owns ending a chat. */
import { answer, type Exchange } from "../exchange.ts";
import type { Problem } from "../problem.ts";
import { confirmClaim, notFound } from "./admit-chat.ts";
import { type ChatCaller, type ChatParts, describeFailure, traceOf } from "./chat-parts.ts";
import { admitToRead, leave } from "./read.ts";

/** Ending an ended chat is no failure. @throws Problem for every refusal and failure */
export async function endChat(
  parts: ChatParts,
  exchange: Exchange,
  caller: ChatCaller,
): Promise<Response> {
  const { upstream } = parts;
  const { workspace, chatId } = caller;
  const ticket = await admitToRead(parts, exchange, caller);
  const startedMs = parts.clock.monotonicMs();
  const leaveUnfound = async (): Promise<Problem> => {
    await leave(parts, ticket);
    return notFound(parts, exchange, startedMs);
  };

  if (ticket.newlyClaimed && workspace.agentId !== undefined) {
    const seen = await upstream.getChat(workspace, chatId, traceOf(exchange));
    exchange.call = seen.call;
    if (seen.kind === "failed" && seen.code !== "chat_not_found") throw describeFailure(seen);
    if (seen.kind === "answered" && !(await confirmClaim(parts, caller, seen.answer))) {
      throw await leaveUnfound();
    }
  }
  const outcome = await upstream.endChat(workspace, chatId, traceOf(exchange));
  exchange.call = outcome.call;
  if (outcome.kind === "failed") {
    if (outcome.code === "chat_not_found") throw await leaveUnfound();
    if (outcome.code !== "chat_ended") throw describeFailure(outcome);
  }
  return answer(exchange, 204, null);
}
