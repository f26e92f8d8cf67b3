/**
 * Owns the admission rules in TypeScript, over a key space of numbers and locks. `scripts.ts` has
 * the same rules in Lua for Redis; a property test drives both with the same histories and demands
 * the same decisions, so a change here is a change there.
 */
import { LOCK_LEASE_US } from "./admission.ts";
import type { LimitPolicies, LimitPolicy } from "./limit-policy.ts";

export interface LockRecord {
  readonly token: string;
  readonly expiresAtUs: number;
}

/** Values by key, each gone after its own time. */
export interface KeySpace {
  readNumber(key: string): number | undefined;
  writeNumber(key: string, value: number, expiresAtUs: number): void;
  /** Writes the greater of the old value and the new, for the longer of both times. */
  raiseNumber(key: string, value: number, expiresAtUs: number): void;
  readLock(key: string): LockRecord | undefined;
  writeLock(key: string, lock: LockRecord): void;
  delete(key: string): void;
}

/** What is asked in one step. Every part may be absent. */
export interface Question {
  readonly policies: LimitPolicies;
  /** One key per policy, in the same order. */
  readonly limitKeys: readonly string[];
  readonly lock?: { readonly key: string; readonly token: string };
  readonly session?: {
    /** Keys of the session's end, its subject's cut-off and everyone's. */
    readonly keys: readonly [string, string, string];
    /** Milliseconds since the epoch; 0 where the token does not say. */
    readonly issuedAtMs: number;
  };
}

export interface Decision {
  readonly verdict: "admitted" | "limited" | "chat_busy" | "revoked";
  /** One TAT per policy, as the decision left it; never before now. */
  readonly tatsUs: readonly number[];
}

/** Decides one admission: revocation, then all limits or none, then the chat lock. */
export function decideAdmission(space: KeySpace, nowUs: number, question: Question): Decision {
  const { policies, limitKeys, lock, session } = question;
  const tatsUs = policies.map((policy, index) =>
    clampTat(space.readNumber(limitKeys[index] ?? "") ?? 0, nowUs, policy),
  );
  if (session !== undefined && isRevoked(space, nowUs, session)) {
    return { verdict: "revoked", tatsUs };
  }
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
  for (const [index, key] of limitKeys.entries()) {
    const tatUs = spentUs[index] ?? nowUs;
    space.writeNumber(key, tatUs, tatUs);
  }
  return { verdict: "admitted", tatsUs: spentUs };
}

/**
 * A TAT before now is a limit that is full; one beyond the tolerance was written under another limit
 * or another clock, and must lock nobody out for longer than this limit can.
 */
function clampTat(tatUs: number, nowUs: number, { toleranceUs }: LimitPolicy): number {
  return Math.min(Math.max(tatUs, nowUs), nowUs + toleranceUs);
}

function isRevoked(
  space: KeySpace,
  nowUs: number,
  { keys, issuedAtMs }: NonNullable<Question["session"]>,
): boolean {
  const [sessionKey, ...cutOffKeys] = keys;
  if ((space.readNumber(sessionKey) ?? 0) > nowUs) return true;
  return cutOffKeys.some((key) => (space.readNumber(key) ?? 0) > issuedAtMs);
}

/**
 * Frees a lock, but only for the one whose token it bears (fencing).
 *
 * @returns whether it was held: an expired lock is nobody's, though nobody may have taken it since
 */
export function releaseLock(space: KeySpace, nowUs: number, key: string, token: string): boolean {
  const held = space.readLock(key);
  if (held?.token !== token) return false;
  space.delete(key);
  return held.expiresAtUs > nowUs;
}

/** Extends a lock, and takes it anew where it was lost; but never somebody else's. */
export function renewLock(space: KeySpace, nowUs: number, key: string, token: string): boolean {
  const held = space.readLock(key);
  if (held !== undefined && held.token !== token && held.expiresAtUs > nowUs) return false;
  space.writeLock(key, { token, expiresAtUs: nowUs + LOCK_LEASE_US });
  return true;
}
