/** Owns the state of a single instance, in its own memory: the embedded default and the tests'. */
import type { Clock } from "../clock.ts";
import type { AdmissionState } from "./admission.ts";
import { describeLimit, type LimitPolicies, type LimitStatus } from "./limit-policy.ts";
import {
  decideAdmission,
  type KeySpace,
  type LockRecord,
  releaseLock,
  renewLock,
} from "./rules.ts";
import { authFailuresKey, chatLockKey, limitKey } from "./state-keys.ts";

/** Only tests look at a key of this state, so it needs no prefix of its own. */
const PREFIX = "";

export function createMemoryState(clock: Clock): AdmissionState {
  const nowUs = () => Math.round(clock.epochMs() * 1_000);
  const space = createMemoryKeySpace(nowUs);

  return {
    admit(request) {
      const now = nowUs();
      const { policies, workspaceId, chatId, lockToken } = request;
      const keys = policies.map((policy) => limitKey(PREFIX, policy.name, request));
      const lock = { key: chatLockKey(PREFIX, workspaceId, chatId), token: lockToken };
      const { verdict, tatsUs } = decideAdmission(space, now, policies, keys, lock);
      const limits = describeLimits(policies, tatsUs, now);
      return Promise.resolve(
        verdict === "admitted"
          ? { kind: verdict, limits, ticket: { workspaceId, chatId, lockToken, waitedMs: 0 } }
          : { kind: verdict, limits },
      );
    },
    settle: ({ workspaceId, chatId, lockToken }) => {
      const key = chatLockKey(PREFIX, workspaceId, chatId);
      return Promise.resolve(releaseLock(space, nowUs(), key, lockToken) ? "settled" : "lost");
    },
    renew: ({ workspaceId, chatId, lockToken }) => {
      const key = chatLockKey(PREFIX, workspaceId, chatId);
      return Promise.resolve(renewLock(space, nowUs(), key, lockToken) ? "settled" : "lost");
    },
    countAuthFailure(addressKey, policy) {
      const now = nowUs();
      const { verdict, tatsUs } = decideAdmission(
        space,
        now,
        [policy],
        [authFailuresKey(PREFIX, addressKey)],
      );
      return Promise.resolve(
        verdict === "admitted"
          ? { kind: "counted" }
          : { kind: "limited", limits: describeLimits([policy], tatsUs, now) },
      );
    },
    isReachable: () => Promise.resolve(true),
  };
}

/** Where each limit stands after a decision. */
export function describeLimits(
  policies: LimitPolicies,
  tatsUs: readonly number[],
  nowUs: number,
): LimitStatus[] {
  return policies.map((policy, index) => describeLimit(policy, tatsUs[index] ?? nowUs, nowUs));
}

type Value = { readonly tatUs: number } | LockRecord;

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
      const [candidate, entry] = next.value;
      const endUs = "tatUs" in entry ? entry.tatUs : entry.expiresAtUs;
      if (endUs <= nowUs()) values.delete(candidate);
    }
  };

  return {
    readTat(key) {
      const value = values.get(key);
      return value !== undefined && "tatUs" in value ? value.tatUs : undefined;
    },
    writeTat: (key, tatUs) => write(key, { tatUs }),
    readLock(key) {
      const value = values.get(key);
      return value !== undefined && "token" in value ? value : undefined;
    },
    writeLock: write,
    delete: (key) => void values.delete(key),
    size: () => values.size,
  };
}
