/**
 * Admits a request to its chat: decides which chats the session may use, asks the state, maps its
 * refusals to problems, and reads the owner stamp of a chat whose owner the state does not have.
 */
import type {
  Admission,
  AdmitOutcome,
  AdmitRequest,
  ChatAccess,
  ChatUse,
  MessageRef,
  OwnerKind,
  Settlement,
  SettleOutcome,
  TranscriptState,
} from "../admission/admission.ts";
import { describeRefusal, renderLimitHeaders } from "../admission/limit-policy.ts";
import type { ChatId } from "../branded.ts";
import { type RequestContext, traceOf } from "../request-context.ts";
import { Problem } from "../problem.ts";
import {
  type Caller,
  type ChatAccessMode,
  type ChatCaller,
  type ChatParts,
  describeFailure,
} from "./chat-parts.ts";
import type { ProviderChat } from "./chat-provider.ts";
import {
  type ChatPurpose,
  recordCall,
  type Refusal,
  refuseAbsent,
  refuseForeign,
} from "./not-found-delay.ts";
import { readOwnerStamp } from "./owner-stamp.ts";
import { computeAnsweredState, isSameState } from "./transcript.ts";

/** Admitted to the chat. `key_in_progress`: another request with the key runs the message. */
export type Granted =
  | Extract<AdmitOutcome, { kind: "admitted" | "unresolved" | "replayed" }>
  | { readonly kind: "key_in_progress" };

interface Limited {
  readonly kind: "limited";
  readonly problem: Problem;
}

/**
 * Returns which owner the chat may have for the session to use it.
 *
 * @param chats the token's `chats` claim: the only chats that the session may use besides those it
 *   started; undefined if the token has no such claim
 */
export function resolveChatAccess(
  mode: ChatAccessMode,
  chats: readonly string[] | undefined,
  chatId: ChatId,
): ChatAccess {
  if (chats !== undefined) {
    if (!chats.includes(chatId)) return "started";
    // A listed chat without an owner becomes the session's own, so that no other session can take it.
    return mode === "first-use" ? "open-first-use" : "open";
  }
  switch (mode) {
    case "first-use":
      return "first-use";
    case "claim":
      return "started";
    case "workspace":
      return "open";
  }
}

/**
 * Admits a request that is about no existing chat. From here on every answer has the limit headers.
 *
 * @throws Problem for every refusal
 */
export async function admitCaller(
  parts: ChatParts,
  context: RequestContext,
  caller: Caller,
): Promise<void> {
  const outcome = await admit(parts, context, caller, undefined);
  if (outcome.kind === "admitted") return;
  if (outcome.kind === "limited") throw outcome.problem;
  throw new Error(`a request without a chat was ${outcome.kind}`);
}

/**
 * Admits a request to a chat.
 *
 * @throws Problem for every refusal, including a chat of another owner
 */
export async function admitToChat(
  parts: ChatParts,
  context: RequestContext,
  caller: ChatCaller,
  purpose: ChatPurpose,
  message?: MessageRef,
): Promise<Granted> {
  const use = describeUse(parts, caller, message);
  const outcome = await admit(parts, context, caller, use);
  if (outcome.kind === "limited") throw outcome.problem;
  if (outcome.kind !== "denied") return outcome;
  return appeal(parts, context, caller, { use, purpose, unowned: outcome.unowned });
}

/**
 * Asks whether a message is admitted to its chat, like `admitToChat`, and leaves to the caller what may
 * take long and what may be no refusal of a repeat.
 *
 * @returns "denied" with the rest of the admission, which calls UponAI or delays the refusal;
 *   "limited" with the problem of the spent limits
 * @throws Problem for every other refusal
 */
export async function admitAtOnce(
  parts: ChatParts,
  context: RequestContext,
  caller: ChatCaller,
  message: MessageRef,
): Promise<
  Granted | Limited | { readonly kind: "denied"; readonly appeal: () => Promise<Granted> }
> {
  const use = describeUse(parts, caller, message);
  const outcome = await admit(parts, context, caller, use);
  if (outcome.kind !== "denied") return outcome;
  const denial = { use, purpose: "send", unowned: outcome.unowned } as const;
  return { kind: "denied", appeal: () => appeal(parts, context, caller, denial) };
}

function describeUse(
  { chatAccess }: ChatParts,
  { chatId, session }: ChatCaller,
  message: MessageRef | undefined,
): ChatUse {
  const access = resolveChatAccess(chatAccess, session.chats, chatId);
  return message === undefined ? { chatId, access } : { chatId, access, message };
}

/** Decides about a request that the state has denied: by the owner stamp of the chat. */
async function appeal(
  parts: ChatParts,
  context: RequestContext,
  caller: ChatCaller,
  {
    use,
    purpose,
    unowned,
  }: { readonly use: ChatUse; readonly purpose: ChatPurpose; readonly unowned: boolean },
): Promise<Granted> {
  const { workspace } = caller;
  const startedMs = parts.clock.monotonicMs();
  const refusal: Refusal = { workspace, use, purpose, startedMs, unknown: true };
  // A workspace without an agent has started no chats, so its chats have no stamps.
  if (unowned && workspace.agentId !== undefined) {
    const found = await findStamp(parts, context, caller, purpose);
    if (found === "own") {
      // Without policies: the first admission has spent the limits.
      const again = await admit(parts, context, caller, use, []);
      if (again.kind === "limited") throw again.problem;
      if (again.kind !== "denied") return again;
    }
    // With any other access a request makes more calls for an absent chat; see `listAbsentCalls`.
    if (found === "absent" && use.access === "started") throw refuseAbsent(parts, refusal);
  }
  throw await refuseForeign(parts, refusal);
}

const KEY_IN_PROGRESS = { kind: "key_in_progress" } as const;

async function admit(
  { state }: ChatParts,
  context: RequestContext,
  { session, workspace, addressKey }: Caller,
  chat: ChatUse | undefined,
  policies = workspace.policies,
): Promise<Granted | Limited | Extract<AdmitOutcome, { kind: "denied" }>> {
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
  Object.assign(context.headers, renderLimitHeaders(outcome.limits));
  switch (outcome.kind) {
    case "admitted":
    case "unresolved":
    case "replayed":
    case "denied":
      return outcome;
    case "key_in_progress":
      return KEY_IN_PROGRESS;
    case "revoked":
      throw new Problem("session_revoked");
    case "limited":
      return {
        kind: "limited",
        problem: new Problem("rate_limited", describeRefusal(outcome.limits)),
      };
    case "chat_busy":
      throw new Problem("chat_busy", { retryAfterSeconds: 1 });
    case "key_reused":
      throw new Problem("idempotency_key_reused");
  }
}

/**
 * Reads the owner stamp of a chat for which the state has no owner. If it is the stamp of this
 * session's subject, the state records the owner again.
 *
 * @returns "absent" if UponAI has no such chat
 * @throws Problem if UponAI cannot be asked
 */
async function findStamp(
  parts: ChatParts,
  context: RequestContext,
  caller: ChatCaller,
  purpose: ChatPurpose,
): Promise<"own" | "other" | "absent"> {
  const { provider, hashing, state } = parts;
  const { session, workspace, chatId } = caller;
  const outcome = await provider.read(workspace, chatId, traceOf(context));
  context.call = outcome.call;
  recordCall(parts, workspace, outcome);
  if (outcome.kind === "failed") {
    if (outcome.code === "chat_not_found") return "absent";
    throw describeFailure(outcome, purpose === "send" ? "unsent" : purpose);
  }
  const { metadata, messages } = outcome.answer;
  const { subject, subjectKey } = session;
  if (readOwnerStamp(hashing, metadata, { workspace, subject }) !== "own") return "other";
  const transcriptState = computeAnsweredState(hashing, messages);
  const ownership = { workspaceId: workspace.id, subjectKey, chatId, transcriptState };
  const owned = await state.own({ ...ownership, stamped: true });
  return owned === "owned" ? "own" : "other";
}

/** What is known of a chat before a message is sent into it. */
export interface KnownChat {
  /** Transcript state before the message; undefined if it is unknown. */
  readonly stateBefore: TranscriptState | undefined;
  /** How the provisional owner is confirmed once UponAI has proven that the chat exists. */
  readonly owner: OwnerKind | undefined;
  /** Whether UponAI has shown the chat to this request. */
  readonly proven: boolean;
}

/** Whether the caller may use the chat, and how its provisional owner is confirmed. */
export type OwnerFinding =
  { readonly allowed: true; readonly owner: OwnerKind | undefined } | { readonly allowed: false };

/**
 * Checks the owner stamp of a chat that UponAI has shown, if the caller is its provisional owner: the
 * state may have lost the record that another subject started the chat. Such a chat is refused,
 * unless the caller's token lists it; then the caller may use it and does not become its owner.
 */
export function confirmOwner(
  { hashing }: ChatParts,
  { session, workspace }: ChatCaller,
  { request, provisionalOwner }: Pick<Admission, "request" | "provisionalOwner">,
  { metadata }: ProviderChat,
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

/**
 * Admits a request that reads or ends a chat.
 *
 * @throws Problem for every refusal
 */
export async function admitToRead(
  parts: ChatParts,
  context: RequestContext,
  caller: ChatCaller,
  purpose: "read" | "end",
): Promise<Admission> {
  const granted = await admitToChat(parts, context, caller, purpose);
  if (granted.kind === "admitted") return granted.admission;
  throw new Error(`a request without a message was ${granted.kind}`);
}

/**
 * Settles the admission of a request that read or ended a chat. Without a provisional owner or a new
 * transcript state there is nothing to settle, and the round trip is saved.
 *
 * @returns whether the caller may see the chat; see `isTakenOver`
 */
export async function settleRead(
  { state }: ChatParts,
  admission: Admission,
  settlement: Settlement & { readonly disposition: "not_taken" },
): Promise<{ readonly allowed: boolean }> {
  const { stateAfter } = settlement;
  const learnt = stateAfter !== undefined && !isSameState(admission.transcriptState, stateAfter);
  if (!admission.provisionalOwner && !learnt) return { allowed: true };
  const settled = await state.settle(admission, settlement);
  return { allowed: !isTakenOver(admission, settled) };
}

/**
 * Whether another subject became the owner of the chat while the request ran, so that its answer may
 * hold messages of that subject. A chat that the token lists may be used with any owner.
 */
export function isTakenOver({ request }: Admission, settled: SettleOutcome): boolean {
  return settled === "foreign" && request.chat?.access !== "open-first-use";
}
