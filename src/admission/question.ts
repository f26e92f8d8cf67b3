/** How requests of the port become questions to the rules, in TypeScript and in Lua alike. */
import type { Admission, AdmitRequest, ChatUse, MessageRef, Settlement } from "./admission.ts";
import type { LimitPolicy } from "./limit-policy.ts";
import {
  ADDRESS_SLOT,
  formatState,
  messageIdOf,
  NONE,
  SUBJECT_SLOT,
  WORKSPACE_SLOT,
} from "./records.ts";
import type { ChatQuestion, Question } from "./rules/admit.ts";
import type { MessageOf } from "./rules/chat-rules.ts";
import { kibOf, type Meter, type Place, type StoredBudget } from "./rules/counter-rules.ts";
import type { Admitted, Settling, StoredAnswer, Withdrawal } from "./rules/settle.ts";
import { addressKey, authFailuresKey, chatKey, idempotencyKey, sessionKeys } from "./state-keys.ts";
import type { StateSettings } from "./state-settings.ts";

/** The question that one admission asks. */
export function describeQuestion(
  prefix: string,
  request: AdmitRequest,
  settings: StateSettings,
): Question {
  const { policies, replays, issuedAtMs = 0, chat, subjectKey } = request;
  const keys = sessionKeys(prefix, request);
  const replayMeter = (policy: LimitPolicy, slot: number) =>
    meterOf(policy, { key: keys.subject, slot });
  return {
    keys,
    issuedAtMs,
    limits: policies.map((policy) => meterOf(policy, placeOf(prefix, policy, request))),
    replays: replays && {
      number: replayMeter(replays.number, SUBJECT_SLOT.replays),
      kib: replayMeter(replays.kib, SUBJECT_SLOT.replayedKib),
    },
    stored: budgetOf(prefix, request, settings),
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
  };
}

/** What an admission that was not heard in time has to give back. */
export function describeWithdrawal(
  prefix: string,
  request: AdmitRequest,
  heard: boolean,
): Withdrawal {
  const { policies, chat, subjectKey } = request;
  const limits = policies.map((policy) => meterOf(policy, placeOf(prefix, policy, request)));
  if (chat === undefined) return { heard, limits, chat: undefined };
  const { key, ...described } = describeChat(prefix, request, chat);
  return { heard, limits, chat: { ...described, chatKey: key, subjectKey } };
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
  const budget = budgetOf(prefix, request, settings);
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
  prefix: string,
  request: AdmitRequest,
  { subjectKibUs, workspaceKibUs }: StateSettings,
): StoredBudget {
  const { subject, workspace } = sessionKeys(prefix, request);
  return { subjectKey: subject, workspaceKey: workspace, subjectKibUs, workspaceKibUs };
}

function meterOf({ intervalUs, toleranceUs }: LimitPolicy, place: Place): Meter {
  return { ...place, intervalUs, toleranceUs };
}

/** Where the counter of a limit is kept. */
function placeOf(prefix: string, { name }: LimitPolicy, request: AdmitRequest): Place {
  const { subject, workspace } = sessionKeys(prefix, request);
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
