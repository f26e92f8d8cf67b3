/**
 * From the port to the rules and back: requests become questions to the rules, and decisions of the
 * rules become outcomes. The same for the rules in TypeScript and in Lua.
 */
import type {
  Admission,
  AdmitOutcome,
  AdmitRequest,
  ChatUse,
  MessageRef,
  Settlement,
} from "./admission.ts";
import { describeLimits, describeReplays, type LimitPolicy } from "./limit-policy.ts";
import {
  ADDRESS_SLOT,
  CONTESTED,
  formatState,
  messageIdOf,
  NO_SEND,
  NONE,
  parseChat,
  parseKey,
  parseState,
  SUBJECT_SLOT,
  WORKSPACE_SLOT,
} from "./records.ts";
import type { ChatQuestion, Decision, Question } from "./rules/admit.ts";
import { checkAccess, isSole, type MessageOf, provenState } from "./rules/chat-rules.ts";
import { kibOf, type Meter, type Place, type StoredBudget } from "./rules/counter-rules.ts";
import type { StoredAnswer } from "./rules/key-rules.ts";
import type { Admitted, Settling } from "./rules/settle.ts";
import type { Withdrawal } from "./rules/withdraw.ts";
import {
  addressKey,
  authFailuresKey,
  chatKey,
  idempotencyKey,
  type SessionKeys,
  sessionKeys,
} from "./state-keys.ts";
import type { StateSettings } from "./state-settings.ts";

/** The question that one admission asks. */
export function describeQuestion(
  prefix: string,
  request: AdmitRequest,
  settings: StateSettings,
): Question {
  const { policies, replays, issuedAtMs = 0, chat, subjectKey } = request;
  // Made once: the names of keys are most of what a question costs.
  const keys = sessionKeys(prefix, request);
  const replayMeter = (policy: LimitPolicy, slot: number) =>
    meterOf(policy, { key: keys.subject, slot });
  return {
    keys,
    issuedAtMs,
    limits: policies.map((policy) => meterOf(policy, placeOf(prefix, policy, request, keys))),
    replays: replays && {
      number: replayMeter(replays.number, SUBJECT_SLOT.replays),
      kib: replayMeter(replays.kib, SUBJECT_SLOT.replayedKib),
    },
    stored: budgetOf(keys, settings),
    chat: chat && { ...describeChat(prefix, request, chat), access: chat.access, subjectKey },
  };
}

/** The limit on wrong credentials from one address. */
export function authFailuresMeter(prefix: string, address: string, policy: LimitPolicy): Meter {
  return meterOf(policy, { key: authFailuresKey(prefix, address), slot: ADDRESS_SLOT });
}

/** Undefined for what has no chat: nothing is left to settle. */
export function describeAdmitted(
  prefix: string,
  { request, role, sends }: Admission,
): Admitted | undefined {
  if (request.chat === undefined) return undefined;
  const { key, ...chat } = describeChat(prefix, request, request.chat);
  return { ...chat, chatKey: key, role, sends, subjectKey: request.subjectKey };
}

/** What becomes of an admission, as the rules need it. */
export function describeSettling(
  prefix: string,
  admission: Admission,
  settlement: Settlement,
  settings: StateSettings,
): Settling {
  const { disposition, owner } = settlement;
  const stateBefore = disposition === "not_taken" ? undefined : settlement.stateBefore;
  const stateAfter = disposition === "unknown" ? undefined : settlement.stateAfter;
  return {
    disposition,
    recovered: disposition === "taken" && settlement.source === "transcript",
    owner,
    stateBefore: formatState(stateBefore),
    stateAfter: formatState(stateAfter),
    code: disposition === "unknown" ? settlement.code : NONE,
    stored:
      disposition === "taken"
        ? storedAnswer(prefix, admission, settlement.answer, settings)
        : undefined,
    refund:
      disposition === "not_taken" && hasReserved(admission)
        ? budgetOf(sessionKeys(prefix, admission.request), settings)
        : undefined,
  };
}

/** Whether the admission of this message has spent the first KiB of an answer. */
function hasReserved({ request, role, storable }: Admission): boolean {
  return role === "sender" && storable && request.chat?.message?.keyDigest !== undefined;
}

/** What an admission that was not heard in time has to give back. */
export function describeWithdrawal(
  prefix: string,
  request: AdmitRequest,
  heard: boolean,
  settings: StateSettings,
): Withdrawal {
  const { policies, chat, subjectKey } = request;
  const keys = sessionKeys(prefix, request);
  const limits = policies.map((policy) => meterOf(policy, placeOf(prefix, policy, request, keys)));
  if (chat === undefined) return { heard, limits, chat: undefined };
  const { key, ...described } = describeChat(prefix, request, chat);
  const budget = budgetOf(keys, settings);
  return { heard, limits, chat: { ...described, chatKey: key, subjectKey, budget } };
}

/** Answers up to this size, in bytes, are stored for free: without one the record is as large. */
const FREE_BYTES_MAX = 128;

/** Undefined: the answer is not to be stored. */
function storedAnswer(
  prefix: string,
  { request, storable }: Admission,
  answer: string,
  settings: StateSettings,
): StoredAnswer | undefined {
  // Without a key nothing is stored, and nothing need travel.
  if (request.chat?.message?.keyDigest === undefined) return undefined;
  const budget = budgetOf(sessionKeys(prefix, request), settings);
  const bytes = new TextEncoder().encode(answer).byteLength;
  if (bytes <= FREE_BYTES_MAX) return { answer, kib: 0, budget };
  if (!storable || bytes > settings.answerBytesMax) return undefined;
  return { answer, kib: kibOf(answer) - 1, budget };
}

function describeChat(
  prefix: string,
  { workspaceId }: Pick<AdmitRequest, "workspaceId">,
  { chatId, message }: Pick<ChatUse, "chatId" | "message">,
): Pick<ChatQuestion, "key" | "message" | "recordKey"> {
  const keyDigest = message?.keyDigest;
  return {
    key: chatKey(prefix, workspaceId, chatId),
    message: message && messageOf(message),
    recordKey: keyDigest === undefined ? undefined : idempotencyKey(prefix, workspaceId, keyDigest),
  };
}

function messageOf(message: MessageRef): MessageOf {
  const { token, fingerprint } = message;
  return { token, fingerprint, messageId: messageIdOf(message) };
}

function budgetOf(
  { subject, workspace }: SessionKeys,
  { subjectKibUs, workspaceKibUs }: StateSettings,
): StoredBudget {
  return { subjectKey: subject, workspaceKey: workspace, subjectKibUs, workspaceKibUs };
}

function meterOf({ intervalUs, toleranceUs }: LimitPolicy, place: Place): Meter {
  return { ...place, intervalUs, toleranceUs };
}

/** Where the counter of a limit is kept. */
function placeOf(
  prefix: string,
  { name }: LimitPolicy,
  request: AdmitRequest,
  { subject, workspace }: SessionKeys,
): Place {
  switch (name) {
    case "session":
      return { key: subject, slot: SUBJECT_SLOT.session };
    case "session-daily":
      return { key: subject, slot: SUBJECT_SLOT.sessionDaily };
    case "replays":
      return { key: subject, slot: SUBJECT_SLOT.replays };
    case "workspace":
      return { key: workspace, slot: WORKSPACE_SLOT.workspace };
    case "ip":
      return {
        key: addressKey(prefix, request.workspaceId, request.addressKey),
        slot: ADDRESS_SLOT,
      };
    case "auth-failures":
      return { key: authFailuresKey(prefix, request.addressKey), slot: ADDRESS_SLOT };
  }
}

/**
 * The port's outcome of a decision.
 *
 * @param waitedMs how long the decision took to come, in milliseconds
 */
export function describeOutcome(
  request: AdmitRequest,
  decision: Decision,
  nowUs: number,
  waitedMs: number,
): AdmitOutcome {
  const { policies, replays } = request;
  const { verdict, tatsUs } = decision;
  const limits = describeLimits(policies, tatsUs, nowUs);
  switch (verdict) {
    case "admitted": {
      const admission = describeAdmission(request, decision, nowUs, waitedMs);
      return { kind: verdict, limits, admission };
    }
    case "unresolved": {
      const key = parseKey(decision.keyText);
      const code = key === undefined || key.kind === "finished" ? "-" : key.code;
      const admission = describeAdmission(request, decision, nowUs, waitedMs);
      return { kind: verdict, limits, admission, code: code === "-" ? undefined : code };
    }
    case "replayed": {
      const key = parseKey(decision.keyText);
      return { kind: verdict, limits, answer: key?.kind === "finished" ? key.answer : "" };
    }
    case "denied": {
      const { owner } = parseChat(decision.chatText, nowUs);
      return { kind: verdict, limits, unowned: owner === undefined || owner.kind === "p" };
    }
    case "replays_limited": {
      const [numberUs = nowUs, kibUs = nowUs, kib = 0] = tatsUs.slice(policies.length);
      // Alone: the others refuse nothing here.
      const status = replays && describeReplays(replays, { numberUs, kibUs }, kib, nowUs);
      return { kind: "limited", limits: status === undefined ? limits : [status] };
    }
    case "limited":
    case "revoked":
    case "chat_busy":
    case "key_in_progress":
    case "key_reused":
      return { kind: verdict, limits };
    case "late":
      return { kind: "unavailable" };
  }
}

function describeAdmission(
  request: AdmitRequest,
  { verdict, chatText, keyText, storable }: Decision,
  nowUs: number,
  waitedMs: number,
): Admission {
  const { chat: use, subjectKey } = request;
  if (use === undefined) {
    const none = { sends: 0, transcriptState: undefined, contested: false, storable };
    return { request, role: "reader", provisionalOwner: false, ...none, waitedMs };
  }
  const chat = parseChat(chatText, nowUs);
  const { provisional: provisionalOwner } = checkAccess(chat, use.access, subjectKey);
  const common = { request, provisionalOwner, storable, waitedMs };
  const { message } = use;
  if (message === undefined) {
    // What is read while a message is under way may be older than the message, and proves nothing.
    const known = chat.running === undefined && chat.doubtfulUntilUs <= nowUs;
    const transcriptState = known ? parseState(chat.state) : undefined;
    const sends = known ? chat.sends : NO_SEND;
    return { ...common, role: "reader", sends, transcriptState, contested: false };
  }
  if (verdict === "unresolved") {
    const key = parseKey(keyText);
    const { fingerprint } = message;
    const sole =
      key?.kind === "answered" || isSole(chat, { fingerprint, messageId: messageIdOf(message) });
    const text = key === undefined || key.kind === "finished" ? undefined : key.state;
    const transcriptState = sole ? parseState(text) : undefined;
    const contested = transcriptState === undefined;
    return { ...common, role: "recoverer", sends: 0, transcriptState, contested };
  }
  const contested = chat.running?.messageId === CONTESTED;
  const transcriptState = contested ? undefined : parseState(provenState(chat, nowUs));
  return { ...common, role: "sender", sends: chat.sends, transcriptState, contested };
}
