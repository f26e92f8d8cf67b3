/** Owns the state of a single instance, in its own memory: the embedded default and the tests'. */
import type { Clock } from "../clock.ts";
import type { AdmissionState, Ticket } from "./admission.ts";
import { describeLimits } from "./limit-policy.ts";
import {
  decideAdmission,
  type KeySpace,
  type LockRecord,
  releaseLock,
  renewLock,
} from "./rules.ts";
import { authFailuresKey, chatLockKey, cutOffKey, limitKey, revocationKeys } from "./state-keys.ts";

/** Only tests look at a key of this state, so it needs no prefix of its own. */
const PREFIX = "";

export function createMemoryState(clock: Clock): AdmissionState {
  const nowUs = () => Math.round(clock.epochMs() * 1_000);
  const space = createMemoryKeySpace(nowUs);

  const touchLock = (touch: typeof renewLock, { workspaceId, chatId, lockToken }: Ticket) => {
    const held = touch(space, nowUs(), chatLockKey(PREFIX, workspaceId, chatId), lockToken);
    return Promise.resolve(held ? ("settled" as const) : ("lost" as const));
  };

  return {
    admit(request) {
      const now = nowUs();
      const { policies, workspaceId, chatId, lockToken, issuedAtMs = 0 } = request;
      const { verdict, tatsUs } = decideAdmission(space, now, {
        policies,
        limitKeys: policies.map((policy) => limitKey(PREFIX, policy.name, request)),
        lock: { key: chatLockKey(PREFIX, workspaceId, chatId), token: lockToken },
        session: { keys: revocationKeys(PREFIX, request), issuedAtMs },
      });
      const limits = describeLimits(policies, tatsUs, now);
      return Promise.resolve(
        verdict === "admitted"
          ? { kind: verdict, limits, ticket: { workspaceId, chatId, lockToken, waitedMs: 0 } }
          : { kind: verdict, limits },
      );
    },
    settle: (ticket) => touchLock(releaseLock, ticket),
    renew: (ticket) => touchLock(renewLock, ticket),
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
      space.raiseNumber(revocationKeys(PREFIX, session)[0], endUs, endUs);
      return Promise.resolve("done");
    },
    cutOff({ workspaceId, subjectKey, forMs }) {
      const key = cutOffKey(PREFIX, workspaceId, subjectKey);
      space.raiseNumber(key, Math.floor(nowUs() / 1_000), nowUs() + forMs * 1_000);
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

type Value = { readonly number: number; readonly expiresAtUs: number } | LockRecord;

/** Entries looked at per write. Two per new entry at most keep the expired from piling up. */
const SWEPT_PER_WRITE = 2;

/** A key space in a Map. Expired values are swept a few at a time, with no timer and no pause. */
export function createMemoryKeySpace(nowUs: () => number): KeySpace & { size(): number } {
  const values = new Map<string, Value>();
  let sweep = values.entries();

  const write = (key: string, value: Value) => {
    values.set(key, value);
    for (let count = 0; count < SWEPT_PER_WRITE; count += 1) {
      const next = sweep.next();
      if (next.done === true) {
        sweep = values.entries();
        return;
      }
      const [candidate, { expiresAtUs }] = next.value;
      if (expiresAtUs <= nowUs()) values.delete(candidate);
    }
  };

  return {
    readNumber(key) {
      const value = values.get(key);
      if (value === undefined || "token" in value || value.expiresAtUs <= nowUs()) return undefined;
      return value.number;
    },
    writeNumber: (key, number, expiresAtUs) => write(key, { number, expiresAtUs }),
    raiseNumber(key, number, expiresAtUs) {
      const old = values.get(key);
      const live = old !== undefined && !("token" in old) && old.expiresAtUs > nowUs();
      write(key, {
        number: live ? Math.max(old.number, number) : number,
        expiresAtUs: live ? Math.max(old.expiresAtUs, expiresAtUs) : expiresAtUs,
      });
    },
    readLock(key) {
      const value = values.get(key);
      return value !== undefined && "token" in value ? value : undefined;
    },
    writeLock: write,
    delete: (key) => void values.delete(key),
    size: () => values.size,
  };
}
