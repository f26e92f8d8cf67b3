/**
 * Sends one message, at most once: admission, the call, the search for a lost answer, settling,
 * the answer. Whoever calls it has proven the session and the workspace and validated the message;
 * it asks for all three by type. `docs/sending.md` has the states and the reasons.
 */
import { type Admission, LOCK_LEASE_US, type MessageRef } from "../admission/admission.ts";
import { answerJson, type Exchange } from "../exchange.ts";
import { isProblemCode, Problem } from "../problem.ts";
import { admitToChat, createRefusal, refuseAbsent, refuseForeign } from "./admit-chat.ts";
import { type ChatCaller, type ChatParts, traceOf } from "./chat-parts.ts";
import { type Prepared, prepareMessage } from "./prepare-message.ts";
import { searchTranscript } from "./search-transcript.ts";
import { notTaken, presentAsJson, provenOwner, respond, type Sent, unknown } from "./sent.ts";
import { formatReply, parseReply, type Reply } from "./stored-answer.ts";
import { advanceMark } from "./transcript.ts";
import { whileLeased } from "./while-leased.ts";

export interface Message extends ChatCaller {
  readonly content: string;
  /** As the client sent it; undefined where it sent none. */
  readonly idempotencyKey: string | undefined;
}

/** @throws Problem for every refusal and failure */
export async function sendMessage(
  parts: ChatParts,
  exchange: Exchange,
  message: Message,
): Promise<Response> {
  const granted = await admitToChat(parts, exchange, message, "send", referTo(parts, message));
  switch (granted.kind) {
    case "replayed":
      return replay(exchange, parseReply(granted.answer));
    case "unresolved":
      return recoverUnresolved(parts, exchange, message, granted.admission, granted.code);
    case "admitted":
      return sendAdmitted(parts, exchange, message, granted.admission);
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
  admission: Admission,
): Promise<Response> {
  const startedMs = parts.clock.monotonicMs();
  const refusal = createRefusal(message, admission, "send", startedMs);
  const { result, settled } = await whileLeased(parts, exchange, admission, async (renew) => {
    const prepared = await prepareMessage(parts, exchange, message, { admission, renew });
    if (prepared.kind === "stopped") return prepared.sent;
    // A machine that stood still: others went on, and were told that this message is not known of.
    if (parts.clock.monotonicMs() - startedMs >= UNSENT_MS_MAX) {
      return notTaken({ code: "state_unavailable", fate: "not_taken" }, prepared);
    }
    return complete(parts, exchange, message, { admission, prepared });
  });
  if (result.kind === "problem" && result.code === "chat_not_found") {
    throw result.foreign === true
      ? await refuseForeign(parts, refusal)
      : refuseAbsent(parts, refusal);
  }
  return respond(exchange, result, settled);
}

/** Longest time between admission and sending, in milliseconds: the lease's. */
const UNSENT_MS_MAX = LOCK_LEASE_US / 1_000;

const TAKEN = { disposition: "taken", source: "reply" } as const;

async function complete(
  parts: ChatParts,
  exchange: Exchange,
  message: Message,
  { admission, prepared }: { readonly admission: Admission; readonly prepared: Prepared },
): Promise<Sent> {
  const { workspace, chatId, content, idempotencyKey } = message;
  const { mark, owner } = prepared;
  const trace = traceOf(exchange);
  const outcome = await parts.upstream.completeChat(workspace, chatId, content, trace);
  exchange.call = outcome.call;
  if (outcome.kind === "answered") {
    const { answer: messages } = outcome;
    const after = mark && advanceMark(parts.hashing, mark, content, messages);
    const result = { kind: "messages", json: presentAsJson(parts, messages) } as const;
    return {
      result,
      settlement: {
        ...TAKEN,
        answer: formatReply(result),
        stateBefore: mark,
        stateAfter: after,
        owner,
      },
    };
  }
  const { code } = outcome;
  switch (outcome.fate) {
    case "not_taken":
      return notTaken(outcome, prepared);
    case "refused": {
      const result = { kind: "problem", code } as const;
      const states = { stateBefore: mark, stateAfter: mark };
      // That a chat has ended proves that there is one; that a message is refused does not.
      const proven = code === "chat_ended" ? owner : provenOwner(prepared);
      const answer = formatReply(result);
      return { result, settlement: { ...TAKEN, answer, ...states, owner: proven } };
    }
    case "unknown": {
      if (idempotencyKey === undefined) return unknown(code, prepared);
      if (prepared.unread) return unknown(code, prepared);
      return searchTranscript(parts, exchange, message, { admission, known: prepared }, code);
    }
  }
}

/** Looks for the answer to a message that was sent before, and answers by what it finds. */
async function recoverUnresolved(
  parts: ChatParts,
  exchange: Exchange,
  message: Message,
  admission: Admission,
  storedCode: string | undefined,
): Promise<Response> {
  // A defect was the earlier request's, and is none of this one.
  const told = storedCode !== undefined && isProblemCode(storedCode);
  const code = told && storedCode !== "internal_error" ? storedCode : "outcome_unknown";
  const known = { mark: admission.transcriptState, owner: undefined, proven: false };
  const { result, settled } = await whileLeased(parts, exchange, admission, () =>
    searchTranscript(parts, exchange, message, { admission, known }, code),
  );
  return respond(exchange, result, settled);
}
