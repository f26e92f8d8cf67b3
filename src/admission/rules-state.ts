/** The port over the rules in TypeScript: any key space in which one step runs at a time. */
import { type AdmissionState, type AdmitRequest, CUT_OFF_AHEAD_MS } from "./admission.ts";
import type { KeySpace } from "./key-space.ts";
import { describeLimits } from "./limit-policy.ts";
import {
  authFailuresMeter,
  describeAdmitted,
  describeOutcome,
  describeQuestion,
  describeSettling,
  describeWithdrawal,
} from "./port-to-rules.ts";
import { formatState } from "./records.ts";
import { countOne, cutOff, decideAdmission, isRevoked } from "./rules/admit.ts";
import { ownChat } from "./rules/own.ts";
import { renewLease } from "./rules/renew.ts";
import { settleReader, settleRecoverer, settleSender } from "./rules/settle.ts";
import { withdraw } from "./rules/withdraw.ts";
import { chatKey, sessionKeys, subjectRecordKey, workspaceRecordKey } from "./state-keys.ts";
import type { StateSettings } from "./state-settings.ts";

/** A key space of its own needs no prefix. */
const PREFIX = "";

/** Every step runs at once: what it promises is there already. */
export interface RulesState extends AdmissionState {
  /**
   * Takes back an admission whose answer came too late.
   *
   * @param heard whether the decision is known; else only what it left proves it
   */
  withdraw(request: AdmitRequest, heard: boolean): Promise<void>;
}

/** @param nowUs the time, in whole microseconds since the epoch */
export function createRulesState(
  space: KeySpace,
  nowUs: () => number,
  settings: StateSettings,
): RulesState {
  return {
    admit(request) {
      const now = nowUs();
      const question = describeQuestion(PREFIX, request, settings);
      const decision = decideAdmission(space, now, question, settings);
      return Promise.resolve(describeOutcome(request, decision, now, 0));
    },
    settle(admission, settlement) {
      const now = nowUs();
      const admitted = describeAdmitted(PREFIX, admission);
      if (admitted === undefined) return Promise.resolve("settled");
      const settling = describeSettling(PREFIX, admission, settlement, settings);
      const { message, role } = admitted;
      if (message === undefined || role === "reader") {
        return Promise.resolve(settleReader(space, now, admitted, settling, settings));
      }
      const settle = role === "sender" ? settleSender : settleRecoverer;
      return Promise.resolve(settle(space, now, { ...admitted, message }, settling, settings));
    },
    renew(admission, stateBefore) {
      const admitted = describeAdmitted(PREFIX, admission);
      const held =
        admitted !== undefined &&
        renewLease(space, nowUs(), admitted, formatState(stateBefore), settings);
      return Promise.resolve(held ? "renewed" : "lost");
    },
    own({ workspaceId, subjectKey, chatId, transcriptState, stamped }) {
      const owned = ownChat(
        space,
        nowUs(),
        { chatKey: chatKey(PREFIX, workspaceId, chatId), subjectKey },
        { state: formatState(transcriptState), stamped },
        settings,
      );
      return Promise.resolve(owned ? "owned" : "refused");
    },
    checkSession(session) {
      const keys = sessionKeys(PREFIX, session);
      const revoked = isRevoked(space, nowUs(), keys, session.issuedAtMs ?? 0);
      return Promise.resolve(revoked ? "revoked" : "valid");
    },
    isEnded(session, forMs) {
      const { text } = space.read(sessionKeys(PREFIX, session).session) ?? {};
      const ended = Number(text ?? 0) >= nowUs() + Math.ceil(forMs) * 1_000;
      return Promise.resolve(ended ? "ended" : "not_ended");
    },
    revokeSession(session, forMs) {
      const key = sessionKeys(PREFIX, session).session;
      const endUs = Math.max(
        Number(space.read(key)?.text ?? 0),
        nowUs() + Math.ceil(forMs) * 1_000,
      );
      space.write(key, String(endUs), endUs);
      return Promise.resolve("done");
    },
    cutOff({ workspaceId, subjectKey, forMs }) {
      const now = nowUs();
      const key =
        subjectKey === undefined
          ? workspaceRecordKey(PREFIX, workspaceId)
          : subjectRecordKey(PREFIX, workspaceId, subjectKey);
      const untilMs = Math.floor(now / 1_000) + CUT_OFF_AHEAD_MS;
      cutOff(space, now, key, { untilMs, endUs: now + Math.ceil(forMs) * 1_000 });
      return Promise.resolve("done");
    },
    countAuthFailure(addressKey, policy) {
      const now = nowUs();
      const meter = authFailuresMeter(PREFIX, addressKey, policy);
      const { counted, tatUs } = countOne(space, now, meter);
      return Promise.resolve(
        counted
          ? { kind: "counted" }
          : { kind: "limited", limits: describeLimits([policy], [tatUs], now) },
      );
    },
    isReachable: () => Promise.resolve(true),
    withdraw(request, heard) {
      withdraw(space, nowUs(), describeWithdrawal(PREFIX, request, heard, settings), settings);
      return Promise.resolve();
    },
  };
}
