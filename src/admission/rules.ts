/**
 * Owns the admission rules in TypeScript, over a key space of numbers and locks. `scripts.ts` has
 * the same rules in Lua for Redis; a property test drives both with the same histories and demands
 * the same decisions, so a change here is a change there.
 */
import { LOCK_LEASE_US } from "./admission.ts";
import type { LimitPolicies } from "./limit-policy.ts";

export interface LockRecord {
  readonly token: string;
  readonly expiresAtUs: number;
}

/** Values by key, each gone after its own time. */
export interface KeySpace {
  readTat(key: string): number | undefined;
  writeTat(key: string, tatUs: number): void;
  readLock(key: string): LockRecord | undefined;
  writeLock(key: string, lock: LockRecord): void;
  delete(key: string): void;
}

export interface Decision {
  readonly verdict: "admitted" | "limited" | "chat_busy";
  /** One TAT per policy, as the decision left it; never before now. */
  readonly tatsUs: readonly number[];
}

/**
 * Decides one admission: all limits or none, then the chat lock.
 *
 * @param limitKeys one key per policy, in the same order
 * @param lock absent where there is no chat to lock
 */
export function decideAdmission(
  space: KeySpace,
  nowUs: number,
  policies: LimitPolicies,
  limitKeys: readonly string[],
  lock?: { readonly key: string; readonly token: string },
): Decision {
  const tatsUs = limitKeys.map((key) => Math.max(space.readTat(key) ?? 0, nowUs));
  const spentUs = policies.map((policy, index) => (tatsUs[index] ?? nowUs) + policy.intervalUs);
  const limited = policies.some(
    (policy, index) => (spentUs[index] ?? nowUs) - nowUs > policy.toleranceUs,
  );
  if (limited) return { verdict: "limited", tatsUs };
  if (lock !== undefined) {
    const held = space.readLock(lock.key);
    if (held !== undefined && held.expiresAtUs > nowUs) return { verdict: "chat_busy", tatsUs };
    space.writeLock(lock.key, { token: lock.token, expiresAtUs: nowUs + LOCK_LEASE_US });
  }
  for (const [index, key] of limitKeys.entries()) space.writeTat(key, spentUs[index] ?? nowUs);
  return { verdict: "admitted", tatsUs: spentUs };
}

/** An expired lock is nobody's, whether or not the key space has come to delete it. */
function holdsLock(space: KeySpace, nowUs: number, key: string, token: string): boolean {
  const held = space.readLock(key);
  return held !== undefined && held.token === token && held.expiresAtUs > nowUs;
}

/** Frees a lock, but only for the one whose token it bears (fencing). */
export function releaseLock(space: KeySpace, nowUs: number, key: string, token: string): boolean {
  if (!holdsLock(space, nowUs, key, token)) return false;
  space.delete(key);
  return true;
}

/** Extends a lock, but only for the one whose token it bears. */
export function renewLock(space: KeySpace, nowUs: number, key: string, token: string): boolean {
  if (!holdsLock(space, nowUs, key, token)) return false;
  space.writeLock(key, { token, expiresAtUs: nowUs + LOCK_LEASE_US });
  return true;
}
