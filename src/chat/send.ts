/**
 * Owns sending one message exactly once: admission, the call, the search for a lost answer, settling,
 * the answer. Whoever calls it has proven the session and the workspace and validated the message;
 * it asks for all three by type. `docs/exactly-once.md` has the states and the reasons.
 */
import type { MessageRef, Settlement, Ticket } from "../admission/admission.ts";
import type { TranscriptMark } from "../admission/transcript-mark.ts";
import { answerJson, type Exchange } from "../exchange.ts";
import { isProblemCode, Problem, type ProblemCode } from "../problem.ts";
import type { Failure } from "../upstream/classify-reply.ts";
import type { UpstreamMessage } from "../upstream/message-schema.ts";
import { admitToChat, confirmClaim, notFound } from "./admit-chat.ts";
import { type ChatCaller, type ChatParts, describeFailure, traceOf } from "./chat-parts.ts";
import { presentMessages } from "./present-messages.ts";
import { recoverAnswer, type SearchResult } from "./recover-answer.ts";
import { formatReply, parseReply, type Reply } from "./stored-answer.ts";
import { advanceMark, markTranscript } from "./transcript.ts";
import { whileLeased } from "./while-leased.ts";

export interface Message extends ChatCaller {
  readonly content: string;
  /** As the client sent it; undefined where it sent none. */
  readonly idempotencyKey: string | undefined;
}

/** What is to be answered, and how the request is settled. */
interface Sent {
  readonly result: Reply & { readonly recovered?: true; readonly retryAfterSeconds?: number };
  readonly settlement: Settlement;
}

/** @throws Problem for every refusal and failure */
export async function sendMessage(
  parts: ChatParts,
  exchange: Exchange,
  message: Message,
): Promise<Response> {
  const granted = await admitToChat(parts, exchange, message, referTo(parts, message));
  switch (granted.kind) {
    case "replayed":
      return replay(exchange, parseReply(granted.answer));
    case "unresolved":
      return seekAnswer(parts, exchange, message, granted.ticket, granted.code);
    case "admitted":
      return sendAdmitted(parts, exchange, message, granted.ticket);
  }
}

/** Digests for the state: neither contents nor keys of clients are in there. 132 bits each. */
function referTo({ createId, hashing }: ChatParts, message: Message): MessageRef {
  const { session, workspace, chatId, content, idempotencyKey } = message;
  const scope = [workspace.id, session.subjectKey, chatId, idempotencyKey];
  return {
    token: createId(),
    fingerprint: hashing.digest(content).slice(0, 22),
    keyDigest:
      idempotencyKey === undefined ? undefined : hashing.digest(JSON.stringify(scope)).slice(0, 22),
  };
}

function replay(exchange: Exchange, stored: Reply | undefined): Response {
  if (stored === undefined) throw new Problem("outcome_unknown");
  exchange.replayed = true;
  const headers = { "Idempotency-Replayed": "true" };
  if (stored.kind === "problem") throw new Problem(stored.code, { headers });
  return answerJson(exchange, 201, stored.json, headers);
}

async function sendAdmitted(
  parts: ChatParts,
  exchange: Exchange,
  message: Message,
  ticket: Ticket,
): Promise<Response> {
  const startedMs = parts.clock.monotonicMs();
  const { result, settled } = await whileLeased(parts, exchange, ticket, async () => {
    const prepared = await prepare(parts, exchange, message, ticket);
    return prepared.kind === "stopped"
      ? prepared.sent
      : complete(parts, exchange, message, ticket, prepared.mark);
  });
  if (result.kind === "problem" && result.code === "chat_not_found") {
    throw notFound(parts, exchange, startedMs);
  }
  // Another message with the same words was let in meanwhile: the answer may be to that one.
  if (result.recovered && (settled === "lost" || settled === "contested")) {
    throw new Problem("outcome_unknown");
  }
  return respond(exchange, result);
}

type Prepared =
  | { readonly kind: "ready"; readonly mark: TranscriptMark | undefined }
  | { readonly kind: "stopped"; readonly sent: Sent };

/** Longest look at a chat before a message is sent into it, in milliseconds. */
const PREPARE_MS_MAX = 5_000;

/**
 * Learns what has to be known before the message: how the transcript stands, for a message with a
 * key, and whose the chat is, where it may have been started by somebody else. Mostly the state knows
 * both, and nothing is asked.
 */
async function prepare(
  parts: ChatParts,
  exchange: Exchange,
  message: Message,
  ticket: Ticket,
): Promise<Prepared> {
  const { workspace, chatId, idempotencyKey } = message;
  const { newlyClaimed, contested, mark } = ticket;
  const mustConfirm = newlyClaimed && workspace.agentId !== undefined;
  const mustCount = idempotencyKey !== undefined && mark === undefined && !contested;
  if (!mustConfirm && !mustCount) return { kind: "ready", mark };

  const trace = traceOf(exchange);
  const seen = await parts.upstream.getChat(workspace, chatId, trace, PREPARE_MS_MAX);
  if (seen.kind === "failed") {
    // That there is no such chat is left for the message itself to be told.
    if (!mustConfirm || seen.code === "chat_not_found") return { kind: "ready", mark };
    exchange.call = seen.call;
    return { kind: "stopped", sent: notTaken(seen, ticket, mark) };
  }
  if (mustConfirm && !(await confirmClaim(parts, message, seen.answer))) {
    const foreign: Failure = { code: "chat_not_found", fate: "not_taken" };
    return { kind: "stopped", sent: notTaken(foreign, ticket, mark) };
  }
  const { messages } = seen.answer;
  if (!mustCount || messages == null) return { kind: "ready", mark };
  const learnt = markTranscript(parts.hashing, messages);
  // Not waited for: it only matters if this instance does not live to settle.
  void parts.state.renew(ticket, learnt);
  return { kind: "ready", mark: learnt };
}

async function complete(
  parts: ChatParts,
  exchange: Exchange,
  message: Message,
  ticket: Ticket,
  mark: TranscriptMark | undefined,
): Promise<Sent> {
  const { workspace, chatId, content, idempotencyKey } = message;
  const trace = traceOf(exchange);
  const outcome = await parts.upstream.completeChat(workspace, chatId, content, trace);
  exchange.call = outcome.call;
  if (outcome.kind === "answered") {
    const { answer: messages } = outcome;
    const after = mark && advanceMark(parts.hashing, mark, content, messages);
    const result = { kind: "messages", json: present(parts, messages) } as const;
    return { result, settlement: { fate: "answered", answer: formatReply(result), mark: after } };
  }
  const { code } = outcome;
  switch (outcome.fate) {
    case "not_taken":
      return notTaken(outcome, ticket, mark);
    case "refused": {
      const result = { kind: "problem", code } as const;
      return { result, settlement: { fate: "answered", answer: formatReply(result), mark } };
    }
    case "unknown": {
      if (idempotencyKey === undefined) return unknown(code, mark);
      if (mark === undefined) return unknown("outcome_unknown", mark);
      const found = await search(parts, exchange, message, mark);
      return describeSearch(parts, found, mark, code);
    }
  }
}

/** Looks for the answer to a message that was sent before, and answers by what it finds. */
async function seekAnswer(
  parts: ChatParts,
  exchange: Exchange,
  message: Message,
  ticket: Ticket,
  storedCode: string | undefined,
): Promise<Response> {
  const code =
    storedCode !== undefined && isProblemCode(storedCode) ? storedCode : "outcome_unknown";
  const { mark } = ticket;
  const { result, settled } = await whileLeased(parts, exchange, ticket, async () => {
    if (mark === undefined) return unknown("outcome_unknown", mark);
    const found = await search(parts, exchange, message, mark);
    return describeSearch(parts, found, mark, code);
  });
  if (result.recovered && settled === "contested") throw new Problem("outcome_unknown");
  return respond(exchange, result);
}

function search(
  parts: ChatParts,
  exchange: Exchange,
  { workspace, chatId, content }: Message,
  mark: TranscriptMark,
): Promise<SearchResult> {
  const trace = traceOf(exchange);
  return recoverAnswer(parts, {
    mark,
    content,
    windowMs: parts.recoveryWindowMs,
    look: (timeoutMs) => parts.upstream.getChat(workspace, chatId, trace, timeoutMs),
    // The key's next call looks again: nothing is lost when nobody waits for this one any more.
    isGivenUp: () => exchange.request.signal.aborted || parts.gate.draining,
  });
}

function describeSearch(
  parts: ChatParts,
  found: SearchResult,
  mark: TranscriptMark,
  code: ProblemCode,
): Sent {
  switch (found.kind) {
    case "found": {
      const result = { kind: "messages", json: present(parts, found.messages) } as const;
      const answer = formatReply(result);
      return {
        result: { ...result, recovered: true },
        settlement: { fate: "recovered", answer, mark: found.mark },
      };
    }
    case "not_found":
      return unknown("outcome_unknown", mark);
    case "not_read":
      return unknown(code, mark);
  }
}

function present({ exposeToolCalls }: ChatParts, messages: readonly UpstreamMessage[]): string {
  return JSON.stringify({ messages: presentMessages(messages, exposeToolCalls) });
}

function notTaken(
  { code, retryAfterSeconds }: Failure,
  { newlyClaimed }: Ticket,
  mark: TranscriptMark | undefined,
): Sent {
  const releaseClaim = newlyClaimed && code === "chat_not_found";
  const wait = retryAfterSeconds === undefined ? {} : { retryAfterSeconds };
  return {
    result: { kind: "problem", code, ...wait },
    settlement: { fate: "not_taken", mark, releaseClaim },
  };
}

function unknown(code: ProblemCode, markBefore: TranscriptMark | undefined): Sent {
  return { result: { kind: "problem", code }, settlement: { fate: "unknown", code, markBefore } };
}

function respond(exchange: Exchange, result: Sent["result"]): Response {
  if (result.kind === "problem") throw describeFailure(result);
  if (result.recovered !== true) return answerJson(exchange, 201, result.json);
  exchange.recovered = true;
  return answerJson(exchange, 201, result.json, { "Message-Recovered": "true" });
}
