/**
 * Owns sending one message exactly once: admission, the call, the search for a lost answer, settling,
 * the answer. Whoever calls it has proven the session and the workspace and validated the message;
 * it asks for all three by type. `docs/exactly-once.md` has the states and the reasons.
 */
import {
  type Claim,
  LOCK_LEASE_US,
  type MessageRef,
  type Settlement,
  type SettleOutcome,
  type Ticket,
} from "../admission/admission.ts";
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
import { advanceMark, learnMark } from "./transcript.ts";
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
    // As JSON: halves of surrogate pairs would all look alike in UTF-8.
    fingerprint: hashing.digest(JSON.stringify(content)).slice(0, 22),
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
    if (prepared.kind === "stopped") return prepared.sent;
    // A machine that stood still: others went on, and were told that this message is not known of.
    if (parts.clock.monotonicMs() - startedMs >= UNSENT_MS_MAX) {
      return notTaken({ code: "state_unavailable", fate: "not_taken" }, prepared);
    }
    return complete(parts, exchange, message, prepared);
  });
  if (result.kind === "problem" && result.code === "chat_not_found") {
    throw notFound(parts, exchange, startedMs);
  }
  return respond(exchange, result, settled);
}

/** What is known before the message goes. */
interface Prepared {
  readonly kind: "ready";
  readonly mark: TranscriptMark | undefined;
  /** What becomes of a new claim, unless there is no such chat. */
  readonly claim: Claim | undefined;
  /** The transcript was to be counted, and could not be read. */
  readonly unread?: true;
}

/** Longest time between admission and sending, in milliseconds: the lease's. */
const UNSENT_MS_MAX = LOCK_LEASE_US / 1_000;

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
): Promise<Prepared | { readonly kind: "stopped"; readonly sent: Sent }> {
  const { workspace, chatId, idempotencyKey } = message;
  const { newlyClaimed, contested, mark } = ticket;
  const mustConfirm = newlyClaimed && workspace.agentId !== undefined;
  const mustCount = idempotencyKey !== undefined && mark === undefined && !contested;
  const unseen: Prepared = { kind: "ready", mark, claim: newlyClaimed ? "first-use" : undefined };
  if (!mustConfirm && !mustCount) return unseen;

  const trace = traceOf(exchange);
  const seen = await parts.upstream.getChat(workspace, chatId, trace, PREPARE_MS_MAX);
  if (seen.kind === "failed") {
    // That there is no such chat is left for the message itself to be told.
    if (!mustConfirm || seen.code === "chat_not_found") {
      return mustCount ? { ...unseen, unread: true } : unseen;
    }
    exchange.call = seen.call;
    return { kind: "stopped", sent: notTaken(seen, { mark, claim: undefined }) };
  }
  const finding = confirmClaim(parts, message, ticket, seen.answer);
  if (!finding.allowed) {
    const foreign: Failure = { code: "chat_not_found", fate: "not_taken" };
    return { kind: "stopped", sent: notTaken(foreign, { mark, claim: undefined }) };
  }
  const { claim } = finding;
  if (!mustCount) return { kind: "ready", mark, claim };
  const learnt = learnMark(parts.hashing, seen.answer.messages);
  if (learnt === undefined) return { kind: "ready", mark, claim };
  // Not waited for: it only matters if this instance does not live to settle.
  void parts.state.renew(ticket, learnt);
  return { kind: "ready", mark: learnt, claim };
}

async function complete(
  parts: ChatParts,
  exchange: Exchange,
  message: Message,
  prepared: Prepared,
): Promise<Sent> {
  const { workspace, chatId, content, idempotencyKey } = message;
  const { mark, claim } = prepared;
  const trace = traceOf(exchange);
  const outcome = await parts.upstream.completeChat(workspace, chatId, content, trace);
  exchange.call = outcome.call;
  if (outcome.kind === "answered") {
    const { answer: messages } = outcome;
    const after = mark && advanceMark(parts.hashing, mark, content, messages);
    const result = { kind: "messages", json: present(parts, messages) } as const;
    return {
      result,
      settlement: { fate: "answered", answer: formatReply(result), mark: after, claim },
    };
  }
  const { code } = outcome;
  switch (outcome.fate) {
    case "not_taken":
      return notTaken(outcome, prepared);
    case "refused": {
      const result = { kind: "problem", code } as const;
      return { result, settlement: { fate: "answered", answer: formatReply(result), mark, claim } };
    }
    case "unknown": {
      if (idempotencyKey === undefined) return unknown(code, prepared);
      if (mark === undefined) return unknown(prepared.unread ? code : "outcome_unknown", prepared);
      const found = await search(parts, exchange, message, mark);
      return describeSearch(parts, found, prepared, code);
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
  // A defect was the earlier request's, and is none of this one.
  const known = storedCode !== undefined && isProblemCode(storedCode);
  const code = known && storedCode !== "internal_error" ? storedCode : "outcome_unknown";
  const { mark } = ticket;
  const { result, settled } = await whileLeased(parts, exchange, ticket, async () => {
    const known = { mark, claim: undefined };
    if (mark === undefined) return unknown("outcome_unknown", known);
    const found = await search(parts, exchange, message, mark);
    return describeSearch(parts, found, known, code);
  });
  return respond(exchange, result, settled);
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
  prepared: Pick<Prepared, "mark" | "claim">,
  code: ProblemCode,
): Sent {
  const { claim } = prepared;
  switch (found.kind) {
    case "found": {
      const result = { kind: "messages", json: present(parts, found.messages) } as const;
      const answer = formatReply(result);
      return {
        result: { ...result, recovered: true },
        settlement: { fate: "recovered", answer, mark: found.mark, claim },
      };
    }
    case "not_found":
      return unknown("outcome_unknown", prepared);
    case "not_read":
      return unknown(code, prepared);
  }
}

function present({ exposeToolCalls }: ChatParts, messages: readonly UpstreamMessage[]): string {
  return JSON.stringify({ messages: presentMessages(messages, exposeToolCalls) });
}

function notTaken(
  { code, retryAfterSeconds }: Failure,
  { mark, claim }: Pick<Prepared, "mark" | "claim">,
): Sent {
  const absent = code === "chat_not_found";
  const wait = retryAfterSeconds === undefined ? {} : { retryAfterSeconds };
  return {
    result: { kind: "problem", code, ...wait },
    settlement: { fate: "not_taken", mark, absent, claim: absent ? undefined : claim },
  };
}

function unknown(
  code: ProblemCode,
  { mark: markBefore, claim }: Pick<Prepared, "mark" | "claim">,
): Sent {
  return {
    result: { kind: "problem", code },
    settlement: { fate: "unknown", code, markBefore, claim },
  };
}

function respond(exchange: Exchange, result: Sent["result"], settled: SettleOutcome): Response {
  if (result.kind === "problem") throw describeFailure(result);
  if (result.recovered !== true) return answerJson(exchange, 201, result.json);
  // Only the state knows whether another message with the same words was let in meanwhile, to which
  // this may be the answer. A lease that merely ran out is no such thing.
  if (settled === "contested" || settled === "unavailable") throw new Problem("outcome_unknown");
  exchange.recovered = true;
  return answerJson(exchange, 201, result.json, { "Message-Recovered": "true" });
}
