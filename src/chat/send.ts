/**
 * Sends one message into a chat, at most once. The steps are in the order of this file: admit the
 * message, prepare (learn the transcript state and the owner), send, settle, answer. If the answer is
 * lost, `recover-answer.ts` searches the transcript for it; `bounded-wait.ts` sends with a bounded
 * wait for the answer. The caller has proven the session and the workspace and has validated the
 * message. `docs/sending.md` has the states and the reasons.
 */
import {
  type Admission,
  LOCK_LEASE_US,
  type MessageRef,
  type OwnerKind,
  type Settlement,
  type SettleOutcome,
  type TranscriptState,
} from "../admission/admission.ts";
import type { Preference } from "../http/prefer.ts";
import { type RequestContext, traceOf } from "../request-context.ts";
import { isProblemCode, Problem, type ProblemCode } from "../problem.ts";
import {
  admitToChat,
  confirmOwner,
  type Granted,
  isTakenOver,
  type KnownChat,
} from "./admit-chat.ts";
import { type ChatCaller, type ChatParts, describeFailure } from "./chat-parts.ts";
import type { ProviderFailure } from "./chat-provider.ts";
import { createRefusal, recordCall, refuseAbsent, refuseForeign } from "./not-found-delay.ts";
import { type Answered, presentAnswer, readStoredAnswer } from "./present-answer.ts";
import { formatReply, presentReply, type Reply } from "./present-messages.ts";
import { recoverAnswer } from "./recover-answer.ts";
import { advanceTranscriptState, computeAnsweredState } from "./transcript.ts";

export interface Message extends ChatCaller {
  readonly content: string;
  /** The client's `Idempotency-Key`, unchanged; undefined if it sent none. */
  readonly idempotencyKey: string | undefined;
  /** The bounded wait that the client asks for; undefined without an idempotency key. */
  readonly preference: Preference | undefined;
}

// Admit

/**
 * Answers `POST /chat/:chatId/send` without a bounded wait.
 *
 * @throws Problem for every refusal and failure
 */
export async function sendMessage(
  parts: ChatParts,
  context: RequestContext,
  message: Message,
): Promise<Response> {
  const granted = await admitToChat(parts, context, message, "send", referTo(parts, message));
  return presentAnswer(context, await answerGranted(parts, context, message, granted));
}

/**
 * Answers a message as its admission was decided: sends it, or searches for its answer.
 *
 * @throws Problem for every refusal and failure
 */
export function answerGranted(
  parts: ChatParts,
  context: RequestContext,
  message: Message,
  granted: Granted,
): Answered | Promise<Answered> {
  switch (granted.kind) {
    case "replayed":
      return readStoredAnswer(context, granted.answer);
    case "unresolved":
      return answerUnresolved(parts, context, message, granted.admission, granted.code);
    case "admitted":
      return sendAdmitted(parts, context, message, granted.admission);
    case "key_in_progress":
      throw new Problem("request_in_progress", { retryAfterSeconds: 1 });
  }
}

/** Creates digests for the state, which stores neither contents nor keys. 132 bits each. */
export function referTo({ createId, hashing }: ChatParts, message: Message): MessageRef {
  const { session, workspace, chatId, content, idempotencyKey } = message;
  const scope = [workspace.id, session.subjectKey, chatId, idempotencyKey];
  return {
    token: createId(),
    // As JSON: UTF-8 would encode all lone surrogates as the same bytes.
    fingerprint: hashing.digest(JSON.stringify(content)).slice(0, 22),
    keyDigest:
      idempotencyKey === undefined ? undefined : hashing.digest(JSON.stringify(scope)).slice(0, 22),
  };
}

/** Sends an admitted message and settles its admission. */
async function sendAdmitted(
  parts: ChatParts,
  context: RequestContext,
  message: Message,
  admission: Admission,
): Promise<Answered> {
  const startedMs = parts.clock.monotonicMs();
  const refusal = createRefusal(message.workspace, admission, "send", startedMs);
  const { result, settled } = await whileLeased(parts, context, admission, async (renew) => {
    const prepared = await prepare(parts, context, message, { admission, renew });
    if (prepared.kind === "stopped") return prepared.outcome;
    // If this machine was suspended, the lease has run out: other requests may have been admitted,
    // and were told that this message has an unknown outcome.
    if (parts.clock.monotonicMs() - startedMs >= UNSENT_MS_MAX) {
      return notTaken({ code: "state_unavailable" }, prepared);
    }
    return send(parts, context, message, { admission, prepared });
  });
  if (result.kind === "problem" && result.code === "chat_not_found") {
    throw result.foreign === true
      ? await refuseForeign(parts, refusal)
      : refuseAbsent(parts, refusal);
  }
  if (isTakenOver(admission, settled)) throw await refuseForeign(parts, refusal);
  return conclude(result, settled);
}

/** Longest time between admission and sending, in milliseconds: the lease's. */
const UNSENT_MS_MAX = LOCK_LEASE_US / 1_000;

/**
 * Searches for the answer to a message that an earlier request with this key sent.
 *
 * @param storedCode the code that the earlier request was settled with; undefined if it was not
 */
async function answerUnresolved(
  parts: ChatParts,
  context: RequestContext,
  message: Message,
  admission: Admission,
  storedCode: string | undefined,
): Promise<Answered> {
  const isStored = storedCode !== undefined && isProblemCode(storedCode);
  // The earlier request's defect is not a defect of this request.
  const code = isStored && storedCode !== "internal_error" ? storedCode : "outcome_unknown";
  const stateBefore = admission.transcriptState;
  const known = { stateBefore, owner: undefined, proven: false };
  const startedMs = parts.clock.monotonicMs();
  const refusal = createRefusal(message.workspace, admission, "send", startedMs);
  const { result, settled } = await whileLeased(parts, context, admission, () =>
    recover(parts, context, message, { admission, known }, code),
  );
  if (isTakenOver(admission, settled)) throw await refuseForeign(parts, refusal);
  return conclude(result, settled);
}

// Prepare

interface Prepared extends KnownChat {
  readonly kind: "ready";
  /** The transcript state is needed, and the chat could not be read. */
  readonly unread?: true;
}

/** Longest read of a chat before a message is sent into it, in milliseconds. */
const PREPARE_MS_MAX = 5_000;

/**
 * Learns what must be known before the message is sent: the transcript state, for a message with a
 * key; and the owner, if another subject may have started the chat. Usually the state has both, and
 * the provider is not called.
 */
async function prepare(
  parts: ChatParts,
  context: RequestContext,
  message: Message,
  { admission, renew }: { readonly admission: Admission; readonly renew: Renew },
): Promise<Prepared | { readonly kind: "stopped"; readonly outcome: SendOutcome }> {
  const { workspace, chatId, idempotencyKey } = message;
  const { provisionalOwner, contested, transcriptState: stateBefore } = admission;
  const mustConfirm = provisionalOwner && workspace.agentId !== undefined;
  const mustCount = idempotencyKey !== undefined && stateBefore === undefined && !contested;
  const owner = provisionalOwner ? ("first-use" as const) : undefined;
  const unread: Prepared = { kind: "ready", stateBefore, owner, proven: false };
  if (!mustConfirm && !mustCount) return unread;

  const check = { purpose: "check", timeoutMsMax: PREPARE_MS_MAX } as const;
  const outcome = await parts.provider.read(workspace, chatId, traceOf(context), check);
  recordCall(parts, workspace, outcome);
  if (outcome.kind === "failed") {
    // An absent chat is reported by the message's own call.
    if (!mustConfirm || outcome.code === "chat_not_found") {
      return mustCount ? { ...unread, unread: true } : unread;
    }
    context.call = outcome.call;
    const known = { stateBefore, owner: undefined, proven: false };
    return { kind: "stopped", outcome: notTaken(outcome, known) };
  }
  const finding = confirmOwner(parts, message, admission, outcome.answer);
  if (!finding.allowed) {
    const known = { stateBefore, owner: undefined, proven: true };
    const { result, settlement } = notTaken({ code: "chat_not_found" }, known);
    return { kind: "stopped", outcome: { result: { ...result, foreign: true }, settlement } };
  }
  const confirmed = { owner: finding.owner, proven: true };
  if (!mustCount) return { kind: "ready", stateBefore, ...confirmed };
  const learnt = computeAnsweredState(parts.hashing, outcome.answer.messages);
  if (learnt === undefined) return { kind: "ready", stateBefore, ...confirmed };
  // Not awaited: the stored state matters only if this instance stops before it settles.
  renew(learnt);
  return { kind: "ready", stateBefore: learnt, ...confirmed };
}

// Send

async function send(
  parts: ChatParts,
  context: RequestContext,
  message: Message,
  { admission, prepared }: { readonly admission: Admission; readonly prepared: Prepared },
): Promise<SendOutcome> {
  const { workspace, chatId, content, idempotencyKey } = message;
  const { stateBefore, owner } = prepared;
  const outcome = await parts.provider.send(workspace, chatId, content, traceOf(context));
  context.call = outcome.call;
  if (outcome.kind === "answered") {
    const { answer: messages } = outcome;
    const stateAfter =
      stateBefore && advanceTranscriptState(parts.hashing, stateBefore, content, messages);
    const result = presentReply(messages, parts.exposeToolCalls);
    const answer = formatReply(result);
    return { result, settlement: { ...TAKEN, answer, stateBefore, stateAfter, owner } };
  }
  const { code } = outcome;
  switch (outcome.disposition) {
    case "not_taken":
      return notTaken(outcome, prepared);
    case "taken": {
      const result = { kind: "problem", code } as const;
      const states = { stateBefore, stateAfter: stateBefore };
      // `chat_ended` proves that the chat exists; `message_rejected` does not.
      const proven = code === "chat_ended" ? owner : provenOwner(prepared);
      const answer = formatReply(result);
      return { result, settlement: { ...TAKEN, answer, ...states, owner: proven } };
    }
    case "unknown": {
      // Without a key, or without a transcript state, the answer could not be identified.
      if (idempotencyKey === undefined || prepared.unread) return unknown(code, prepared);
      return recover(parts, context, message, { admission, known: prepared }, code);
    }
  }
}

/**
 * Searches for a lost answer.
 *
 * @param unreadCode the code to answer with if the transcript cannot be read
 */
async function recover(
  parts: ChatParts,
  context: RequestContext,
  message: Message,
  from: { readonly admission: Admission; readonly known: KnownChat },
  unreadCode: ProblemCode,
): Promise<SendOutcome> {
  const recovery = await recoverAnswer(parts, context, message, from);
  switch (recovery.kind) {
    case "found": {
      const result = presentReply(recovery.messages, parts.exposeToolCalls);
      const settlement = { ...RECOVERED, answer: formatReply(result), ...recovery.settleWith };
      return { result: { ...result, recovered: true }, settlement };
    }
    case "not_found":
      return unknown("outcome_unknown", recovery.known);
    case "not_read":
      return unknown(unreadCode, recovery.known);
    case "foreign":
      return unknown("chat_not_found", recovery.known);
  }
}

const TAKEN = { disposition: "taken", source: "reply" } as const;
const RECOVERED = { disposition: "taken", source: "transcript" } as const;

// Settle

/** What to answer, and how to settle the admission. */
interface SendOutcome {
  readonly result: Reply & {
    readonly recovered?: true;
    readonly retryAfterSeconds?: number;
    /** The message certainly was not taken. */
    readonly unsent?: true;
    /** Another owner started the chat; the code is that of a chat that does not exist. */
    readonly foreign?: true;
  };
  readonly settlement: Settlement;
}

function notTaken(
  { code, retryAfterSeconds }: Omit<ProviderFailure, "disposition">,
  known: KnownChat,
): SendOutcome {
  const absent = code === "chat_not_found";
  const wait = retryAfterSeconds === undefined ? {} : { retryAfterSeconds };
  return {
    result: { kind: "problem", code, unsent: true, ...wait },
    settlement: {
      disposition: "not_taken",
      stateAfter: absent ? undefined : known.stateBefore,
      owner: absent ? undefined : provenOwner(known),
    },
  };
}

function unknown(code: ProblemCode, known: KnownChat): SendOutcome {
  const { stateBefore } = known;
  return {
    result: { kind: "problem", code },
    settlement: { disposition: "unknown", code, stateBefore, owner: provenOwner(known) },
  };
}

/**
 * The owner that a failed request confirms: only if UponAI has shown the chat to this request. A
 * failure alone does not prove that the chat exists, and must not keep other subjects out of it.
 */
function provenOwner({ owner, proven }: KnownChat): OwnerKind | undefined {
  return proven ? owner : undefined;
}

/** How often leases are renewed, in milliseconds: a third of the lease, so one may be lost. */
const RENEW_EVERY_MS = 5_000;

/** Renews the leases at once; stores the transcript state before the message, if it is given. */
type Renew = (stateBefore?: TranscriptState) => void;

/**
 * Runs `work`, renews the admission's leases until it ends, and settles the admission with its
 * settlement. If `work` throws, the admission is settled as `unknown` and the error is thrown again.
 */
async function whileLeased(
  { state, log }: ChatParts,
  context: RequestContext,
  admission: Admission,
  work: (renew: Renew) => Promise<SendOutcome>,
): Promise<{ readonly result: SendOutcome["result"]; readonly settled: SettleOutcome }> {
  let renewed: Promise<unknown> = Promise.resolve();
  const renew: Renew = (stateBefore) => {
    const renewing = state.renew(admission, stateBefore).catch(() => undefined);
    renewed = Promise.all([renewed, renewing]);
  };
  const renewal = setInterval(() => renew(), RENEW_EVERY_MS);
  const settle = async (settlement: Settlement): Promise<SettleOutcome> => {
    clearInterval(renewal);
    // A renewal that reached the state after the settlement would lease the chat again, and no
    // request would free it.
    await renewed;
    // Awaited: a client that has its answer may send the next message at once.
    const settled = await state.settle(admission, settlement);
    if (settled !== "settled") {
      const { requestId: reqId } = context;
      // Log fields keep their names; see `docs/operations.md`.
      const { disposition: fate } = settlement;
      log.log("warn", "message was not settled", { reqId, settled, fate });
    }
    return settled;
  };
  let outcome: SendOutcome;
  try {
    outcome = await work(renew);
  } catch (error) {
    const { transcriptState: stateBefore } = admission;
    await settle({ disposition: "unknown", code: "internal_error", stateBefore });
    throw error;
  }
  return { result: outcome.result, settled: await settle(outcome.settlement) };
}

// Answer

/** @throws Problem if the result is a problem, or if a recovered answer may be another message's */
function conclude(result: SendOutcome["result"], settled: SettleOutcome): Answered {
  if (result.kind === "problem") {
    throw describeFailure(result, result.unsent === true ? "unsent" : "send");
  }
  const { json } = result;
  if (result.recovered !== true) return { kind: "answered", json };
  // The recovered answer may belong to another message with the same content that was admitted in
  // the meantime; only the state knows. A lease that ran out ("lost") does not mean this.
  if (settled === "contested" || settled === "unavailable") throw new Problem("outcome_unknown");
  return { kind: "answered", json, recovered: true };
}
