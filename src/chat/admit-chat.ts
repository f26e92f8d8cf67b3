/**
 * Owns the way through admission: the question, the refusals, and what the state cannot know by
 * itself: whose a chat is that the state has lost.
 */
import type {
  AdmitOutcome,
  AdmitRequest,
  ChatUse,
  Claim,
  MessageRef,
  Ticket,
} from "../admission/admission.ts";
import { describeRefusal, renderLimitHeaders } from "../admission/rate-limit-headers.ts";
import type { Exchange } from "../exchange.ts";
import { Problem } from "../problem.ts";
import type { UpstreamChat } from "../upstream/message-schema.ts";
import { resolveChatAccess } from "./chat-access.ts";
import {
  type Caller,
  type ChatCaller,
  type ChatParts,
  describeFailure,
  traceOf,
} from "./chat-parts.ts";
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

/** @throws Problem for every refusal, a chat of somebody else's included */
export async function admitToChat(
  parts: ChatParts,
  exchange: Exchange,
  caller: ChatCaller,
  message?: MessageRef,
): Promise<Granted> {
  const { chatId, session } = caller;
  const access = resolveChatAccess(parts.chatAccess, session.chats, chatId);
  const use = message === undefined ? { chatId, access } : { chatId, access, message };
  const outcome = await admit(parts, exchange, caller, use);
  if (outcome.kind !== "denied") return outcome;
  // Without an agent this workspace has started no chats, and there is no stamp to look for.
  if (!outcome.unowned || caller.workspace.agentId === undefined) {
    await parts.pause(parts.notFoundPace.next(exchange.route));
    throw new Problem("chat_not_found");
  }
  const startedMs = parts.clock.monotonicMs();
  if (await isStamped(parts, exchange, caller)) {
    // Its limits are spent already.
    const again = await admit(parts, exchange, caller, use, []);
    if (again.kind !== "denied") return again;
  }
  throw notFound(parts, exchange, startedMs);
}

/** UponAI's word that there is no such chat, as the answer to the client. */
export function notFound(parts: ChatParts, exchange: Exchange, startedMs: number): Problem {
  parts.notFoundPace.note(exchange.route, parts.clock.monotonicMs() - startedMs);
  return new Problem("chat_not_found");
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
 * Whether a chat that the state knows no owner of was started by this session's subject; then the
 * state is told so again.
 *
 * @throws Problem when UponAI cannot be asked, as any other use of the chat would
 */
async function isStamped(
  { upstream, hashing, state }: ChatParts,
  exchange: Exchange,
  { session, workspace, chatId }: ChatCaller,
): Promise<boolean> {
  const outcome = await upstream.getChat(workspace, chatId, traceOf(exchange));
  exchange.call = outcome.call;
  if (outcome.kind === "failed") {
    if (outcome.code === "chat_not_found") return false;
    throw describeFailure(outcome);
  }
  const { metadata, messages } = outcome.answer;
  const { subject, subjectKey } = session;
  if (readOwnerStamp(hashing, metadata, { workspace, subject }) !== "own") return false;
  const mark = learnMark(hashing, messages);
  return (
    (await state.own({ workspaceId: workspace.id, subjectKey, chatId, mark, stamped: true })) ===
    "owned"
  );
}

/** What a new claim on a chat turns out to be. */
export type ClaimFinding =
  { readonly allowed: true; readonly claim: Claim | undefined } | { readonly allowed: false };

/**
 * Looks at the stamp of a chat if this request claims it: the state may have lost that it was started
 * by somebody else. Then it is not the caller's; but one that the caller's token lists may be used
 * all the same.
 */
export function confirmClaim(
  { hashing }: ChatParts,
  { session, workspace }: ChatCaller,
  { request, newlyClaimed }: Ticket,
  { metadata }: UpstreamChat,
): ClaimFinding {
  if (!newlyClaimed) return { allowed: true, claim: undefined };
  switch (readOwnerStamp(hashing, metadata, { workspace, subject: session.subject })) {
    case "none":
      return { allowed: true, claim: "first-use" };
    case "own":
      return { allowed: true, claim: "started" };
    case "foreign":
      return request.chat?.access === "open-claiming"
        ? { allowed: true, claim: undefined }
        : { allowed: false };
  }
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
