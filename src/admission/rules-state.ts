/** Owns the port over the rules in TypeScript: any key space in which one step runs at a time. */
import type { AdmissionState, Ticket } from "./admission.ts";
import type { KeySpace } from "./key-space.ts";
import { describeLimits } from "./limit-policy.ts";
import { describeOutcome } from "./outcome.ts";
import { decideAdmission } from "./rules.ts";
import { ownChat, renewAdmitted, settleAdmitted } from "./settle-rules.ts";
import { authFailuresKey, chatKeys, cutOffKey, limitKey, revocationKeys } from "./state-keys.ts";
import { formatMark } from "./transcript-mark.ts";

/** A key space of its own needs no prefix. */
const PREFIX = "";

/**
 * @param nowUs the time, in microseconds since the epoch
 * @param ownerTtlMs how long a chat stays its owner's after its last use, in milliseconds
 */
export function createRulesState(
  space: KeySpace,
  nowUs: () => number,
  ownerTtlMs: number,
): AdmissionState {
  const ownerTtlUs = ownerTtlMs * 1_000;

  /** Undefined for what has no chat: nothing is left to settle. */
  const readTicket = ({ request, role, sends }: Ticket) => {
    const { workspaceId, subjectKey, chat } = request;
    if (chat === undefined) return undefined;
    const keys = chatKeys(PREFIX, { workspaceId, chat });
    return { keys, role, subjectKey, sends, ownerTtlUs, message: chat.message };
  };

  /** Writes the greater of the old number and the new, for the longer of both times. */
  const raise = (key: string, value: number, expiresAtUs: number) => {
    const old = space.read(key);
    const number = Math.max(Number(old?.text ?? 0), value);
    space.write(key, String(number), Math.max(old?.expiresAtUs ?? 0, expiresAtUs));
  };

  return {
    admit(request) {
      const now = nowUs();
      const { policies, workspaceId, subjectKey, chat, issuedAtMs = 0 } = request;
      const decision = decideAdmission(space, now, {
        policies,
        limitKeys: policies.map((policy) => limitKey(PREFIX, policy.name, request)),
        session: { keys: revocationKeys(PREFIX, request), issuedAtMs },
        ...(chat && {
          chat: { ...chat, keys: chatKeys(PREFIX, { workspaceId, chat }), subjectKey, ownerTtlUs },
        }),
      });
      return Promise.resolve(describeOutcome(request, decision, now, 0));
    },
    settle(ticket, settlement) {
      const admitted = readTicket(ticket);
      return Promise.resolve(
        admitted === undefined ? "settled" : settleAdmitted(space, nowUs(), admitted, settlement),
      );
    },
    renew(ticket, markBefore) {
      const admitted = readTicket(ticket);
      const held =
        admitted !== undefined && renewAdmitted(space, nowUs(), admitted, formatMark(markBefore));
      return Promise.resolve(held ? "renewed" : "lost");
    },
    own({ workspaceId, subjectKey, chatId, mark, stamped }) {
      const keys = chatKeys(PREFIX, { workspaceId, chat: { chatId } });
      const owned = ownChat(
        space,
        nowUs(),
        { keys, subjectKey, ownerTtlUs },
        { mark: formatMark(mark), stamped },
      );
      return Promise.resolve(owned ? "owned" : "refused");
    },
    checkSession(session) {
      const { verdict } = decideAdmission(space, nowUs(), {
        policies: [],
        limitKeys: [],
        session: { keys: revocationKeys(PREFIX, session), issuedAtMs: session.issuedAtMs ?? 0 },
      });
      return Promise.resolve(verdict === "revoked" ? "revoked" : "valid");
    },
    revokeSession(session, forMs) {
      const endUs = nowUs() + forMs * 1_000;
      raise(revocationKeys(PREFIX, session)[0], endUs, endUs);
      return Promise.resolve("done");
    },
    cutOff({ workspaceId, subjectKey, forMs }) {
      const key = cutOffKey(PREFIX, workspaceId, subjectKey);
      raise(key, Math.floor(nowUs() / 1_000), nowUs() + forMs * 1_000);
      return Promise.resolve("done");
    },
    countAuthFailure(addressKey, policy) {
      const now = nowUs();
      const limitKeys = [authFailuresKey(PREFIX, addressKey)];
      const { verdict, tatsUs } = decideAdmission(space, now, { policies: [policy], limitKeys });
      return Promise.resolve(
        verdict === "admitted"
          ? { kind: "counted" }
          : { kind: "limited", limits: describeLimits([policy], tatsUs, now) },
      );
    },
    isReachable: () => Promise.resolve(true),
  };
}
