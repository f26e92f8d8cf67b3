/** Turns a decision of the rules, in TypeScript or Lua, into the port's outcome. */
import type { Admission, AdmitOutcome, AdmitRequest } from "./admission.ts";
import { describeLimits, describeReplays } from "./limit-policy.ts";
import { CONTESTED, messageIdOf, NO_SEND, parseChat, parseKey, parseState } from "./records.ts";
import type { Decision } from "./rules/admit.ts";
import { checkAccess, isSole, provenState } from "./rules/chat-rules.ts";

/** @param waitedMs how long the decision took to come, in milliseconds */
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
