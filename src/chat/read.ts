/** Owns reading a chat: the transcript, for whom it belongs to. */
import type { Ticket } from "../admission/admission.ts";
import { answerJson, type Exchange } from "../exchange.ts";
import { admitToChat, confirmClaim, notFound } from "./admit-chat.ts";
import { type ChatCaller, type ChatParts, describeFailure, traceOf } from "./chat-parts.ts";
import { presentChat } from "./present-chat.ts";
import { markTranscript } from "./transcript.ts";

/** @throws Problem for every refusal and failure */
export async function readChat(
  parts: ChatParts,
  exchange: Exchange,
  caller: ChatCaller,
): Promise<Response> {
  const { state, upstream, hashing, exposeToolCalls } = parts;
  const ticket = await admitToRead(parts, exchange, caller);
  const startedMs = parts.clock.monotonicMs();
  const outcome = await upstream.getChat(caller.workspace, caller.chatId, traceOf(exchange));
  exchange.call = outcome.call;
  const confirmed =
    outcome.kind === "answered" &&
    (!ticket.newlyClaimed || (await confirmClaim(parts, caller, outcome.answer)));
  if (outcome.kind === "failed" && outcome.code !== "chat_not_found") {
    // Nothing was to be taken: that a read was lost is a failure like any other.
    throw describeFailure(
      outcome.code === "outcome_unknown" ? { code: "upstream_error" } : outcome,
    );
  }
  if (outcome.kind === "failed" || !confirmed) {
    await leave(parts, ticket);
    throw notFound(parts, exchange, startedMs);
  }
  const { messages } = outcome.answer;
  if (ticket.mark === undefined && messages != null) {
    await state.settle(ticket, { fate: "not_taken", mark: markTranscript(hashing, messages) });
  }
  return answerJson(exchange, 200, JSON.stringify(presentChat(outcome.answer, exposeToolCalls)));
}

/** Admission to a chat without a message for it. */
export async function admitToRead(
  parts: ChatParts,
  exchange: Exchange,
  caller: ChatCaller,
): Promise<Ticket> {
  const granted = await admitToChat(parts, exchange, caller);
  if (granted.kind === "admitted") return granted.ticket;
  throw new Error("without a message there is nothing else to be granted");
}

/** Gives up a chat that is not the caller's after all. */
export async function leave({ state }: ChatParts, ticket: Ticket): Promise<void> {
  if (!ticket.newlyClaimed) return;
  await state.settle(ticket, { fate: "not_taken", mark: undefined, releaseClaim: true });
}
