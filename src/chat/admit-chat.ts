/**
 * Admits a request to its chat: asks the state, maps refusals to problems, and reads the owner stamp
 * of a chat whose owner the state has lost.
 */
import type {
  Admission,
  AdmitOutcome,
  AdmitRequest,
  ChatUse,
  MessageRef,
  OwnerKind,
} from "../admission/admission.ts";
import { describeRefusal, renderLimitHeaders } from "../admission/rate-limit-headers.ts";
import type { Exchange } from "../exchange.ts";
import { Problem } from "../problem.ts";
import type { UpstreamChat } from "../upstream/message-schema.ts";
import type { CallOutcome } from "../upstream/uponai-client.ts";
import type { Workspace } from "../workspace.ts";
import { resolveChatAccess } from "./chat-access.ts";
import {
  type Caller,
  type ChatCaller,
  type ChatParts,
  type ChatPurpose,
  describeFailure,
  traceOf,
} from "./chat-parts.ts";
import type { AbsentCall } from "./not-found-delay.ts";
import { readOwnerStamp } from "./owner-stamp.ts";
import { learnMark } from "./transcript.ts";

export type Granted = Extract<AdmitOutcome, { kind: "admitted" | "unresolved" | "replayed" }>;

/** @throws Problem for every refusal; from here on all answers tell where the limits stand */
export async function admitCaller(
  parts: ChatParts,
  exchange: Exchange,
  caller: Caller,
): Promise<void> {
  const outcome = await admit(parts, exchange, caller, undefined);
  if (outcome.kind === "admitted") return;
  throw new Error("without a chat there is nothing else to be granted");
}

/** @throws Problem for every refusal, a chat of another owner included */
export async function admitToChat(
  parts: ChatParts,
  exchange: Exchange,
  caller: ChatCaller,
  purpose: ChatPurpose,
  message?: MessageRef,
): Promise<Granted> {
  const { chatId, session, workspace } = caller;
  const access = resolveChatAccess(parts.chatAccess, session.chats, chatId);
  const use = message === undefined ? { chatId, access } : { chatId, access, message };
  const outcome = await admit(parts, exchange, caller, use);
  if (outcome.kind !== "denied") return outcome;
  const startedMs = parts.clock.monotonicMs();
  const refusal: Refusal = { workspace, use, purpose, startedMs, unknown: true };
  // Without an agent this workspace has started no chats, and there is no stamp to look for.
  if (outcome.unowned && workspace.agentId !== undefined) {
    const found = await findStamp(parts, exchange, caller, purpose);
    if (found === "own") {
      // Its limits are spent already.
      const again = await admit(parts, exchange, caller, use, []);
      if (again.kind !== "denied") return again;
    }
    // Any other access makes more calls into a chat that does not exist: see `listAbsentCalls`.
    if (found === "absent" && access === "started") throw refuseAbsent(parts, refusal);
  }
  throw await refuseForeign(parts, refusal);
}

/** What the time of a refusal depends on. */
export interface Refusal {
  readonly workspace: Workspace;
  readonly use: ChatUse;
  readonly purpose: ChatPurpose;
  /** When the request was admitted or denied, in monotonic milliseconds. */
  readonly startedMs: number;
  /** Whether the state knew nothing of the chat: otherwise fewer calls are made than are listed. */
  readonly unknown: boolean;
}

/** @param startedMs when the request was admitted, in monotonic milliseconds */
export function createRefusal(
  { workspace }: Caller,
  { request, provisionalOwner }: Admission,
  purpose: ChatPurpose,
  startedMs: number,
): Refusal {
  if (request.chat === undefined) throw new Error("only a request for a chat can miss it");
  return { workspace, use: request.chat, purpose, startedMs, unknown: provisionalOwner };
}

/** The answer where UponAI says that there is no such chat; its time is recorded. */
export function refuseAbsent({ notFoundDelay, clock }: ChatParts, refusal: Refusal): Problem {
  if (refusal.unknown) {
    const elapsedMs = clock.monotonicMs() - refusal.startedMs;
    notFoundDelay.recordRequest(refusal.workspace, listAbsentCalls(refusal), elapsedMs);
  }
  return new Problem("chat_not_found");
}

/** The answer where the chat is another owner's, after the time that an absent chat would have taken. */
export async function refuseForeign(
  { notFoundDelay, clock, pause }: ChatParts,
  refusal: Refusal,
): Promise<Problem> {
  const ms = notFoundDelay.estimate(refusal.workspace, listAbsentCalls(refusal));
  const leftMs = refusal.startedMs + ms - clock.monotonicMs();
  if (leftMs > 0) await pause(leftMs);
  return new Problem("chat_not_found");
}

/**
 * The calls that a request makes into a chat that neither UponAI nor the state has. It follows
 * `admitToChat`, `prepareMessage`, `readChat` and `endChat`.
 */
function listAbsentCalls({ workspace, use, purpose }: Refusal): readonly AbsentCall[] {
  const hasAgent = workspace.agentId !== undefined;
  // The state denies such a chat at once; only a stamp could open it.
  if (use.access === "started") return hasAgent ? ["look"] : [];
  switch (purpose) {
    case "read":
      return ["read"];
    case "end":
      return hasAgent ? ["look", "end"] : ["end"];
    case "send":
      return hasAgent || use.message?.keyDigest !== undefined ? ["look", "complete"] : ["complete"];
  }
}

/**
 * Records how long UponAI took for a call, where it answered by what it knows of the chat: a failure
 * takes another time than "no such chat".
 */
export function recordCall(
  { notFoundDelay }: ChatParts,
  { workspace }: Caller,
  outcome: CallOutcome<unknown>,
): void {
  const { kind, call } = outcome;
  if (kind === "failed" && outcome.code !== "chat_not_found" && outcome.code !== "chat_ended") {
    return;
  }
  notFoundDelay.recordCall(workspace, call.ms);
}

async function admit(
  { state }: ChatParts,
  exchange: Exchange,
  { session, workspace, addressKey }: Caller,
  chat: ChatUse | undefined,
  policies = workspace.policies,
): Promise<Granted | Extract<AdmitOutcome, { kind: "denied" }>> {
  const { subjectKey, sessionKey, issuedAtMs } = session;
  const request: AdmitRequest = {
    workspaceId: workspace.id,
    subjectKey,
    sessionKey,
    issuedAtMs,
    addressKey,
    policies,
    replays: workspace.replays,
    chat,
  };
  const outcome = await state.admit(request);
  if (outcome.kind === "unavailable") throw new Problem("state_unavailable");
  Object.assign(exchange.headers, renderLimitHeaders(outcome.limits));
  switch (outcome.kind) {
    case "admitted":
    case "unresolved":
    case "replayed":
    case "denied":
      return outcome;
    case "revoked":
      throw new Problem("session_revoked");
    case "limited":
      throw new Problem("rate_limited", describeRefusal(outcome.limits));
    case "chat_busy":
      throw new Problem("chat_busy", { retryAfterSeconds: 1 });
    case "key_in_progress":
      throw new Problem("request_in_progress", { retryAfterSeconds: 1 });
    case "key_reused":
      throw new Problem("idempotency_key_reused");
  }
}

/**
 * Reads the owner stamp of a chat that the state knows no owner of. Where it is the stamp of this
 * session's subject, the state records the owner again.
 *
 * @returns "absent" where UponAI has no such chat
 * @throws Problem when UponAI cannot be asked, as any other use of the chat would
 */
async function findStamp(
  parts: ChatParts,
  exchange: Exchange,
  caller: ChatCaller,
  purpose: ChatPurpose,
): Promise<"own" | "other" | "absent"> {
  const { upstream, hashing, state } = parts;
  const { session, workspace, chatId } = caller;
  const outcome = await upstream.getChat(workspace, chatId, traceOf(exchange));
  exchange.call = outcome.call;
  recordCall(parts, caller, outcome);
  if (outcome.kind === "failed") {
    if (outcome.code === "chat_not_found") return "absent";
    throw describeFailure(outcome, purpose === "send" ? "unsent" : purpose);
  }
  const { metadata, messages } = outcome.answer;
  const { subject, subjectKey } = session;
  if (readOwnerStamp(hashing, metadata, { workspace, subject }) !== "own") return "other";
  const transcriptState = learnMark(hashing, messages);
  const ownership = { workspaceId: workspace.id, subjectKey, chatId, transcriptState };
  const owned = await state.own({ ...ownership, stamped: true });
  return owned === "owned" ? "own" : "other";
}

/** What a provisional owner turns out to be. */
export type OwnerFinding =
  { readonly allowed: true; readonly owner: OwnerKind | undefined } | { readonly allowed: false };

/**
 * Checks the stamp of a chat that UponAI has shown, if the caller is its provisional owner: the state
 * may have lost that another subject started it. Then it is not the caller's; but one that the
 * caller's token lists may be used all the same.
 */
export function confirmOwner(
  { hashing }: ChatParts,
  { session, workspace }: ChatCaller,
  { request, provisionalOwner }: Pick<Admission, "request" | "provisionalOwner">,
  { metadata }: UpstreamChat,
): OwnerFinding {
  if (!provisionalOwner) return { allowed: true, owner: undefined };
  switch (readOwnerStamp(hashing, metadata, { workspace, subject: session.subject })) {
    case "none":
      return { allowed: true, owner: "first-use" };
    case "own":
      return { allowed: true, owner: "started" };
    case "foreign":
      return request.chat?.access === "open-first-use"
        ? { allowed: true, owner: undefined }
        : { allowed: false };
  }
}

/** Admission to a chat without a message for it. */
export async function admitToRead(
  parts: ChatParts,
  exchange: Exchange,
  caller: ChatCaller,
  purpose: "read" | "end",
): Promise<Admission> {
  const granted = await admitToChat(parts, exchange, caller, purpose);
  if (granted.kind === "admitted") return granted.admission;
  throw new Error("without a message there is nothing else to be granted");
}
