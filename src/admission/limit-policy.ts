/**
 * Limits: their arithmetic, and how a client is told where they stand. The arithmetic is the generic
 * cell rate algorithm (GCRA), which is smooth and needs one number per key, the theoretical arrival
 * time (TAT) in microseconds since the epoch.
 */
import type { QuotaSetting } from "../config/units.ts";

export type PolicyName =
  "session" | "session-daily" | "workspace" | "ip" | "auth-failures" | "replays";

export interface LimitPolicy {
  readonly name: PolicyName;
  /** Requests that may come at once. */
  readonly burst: number;
  /** Time in which one request's worth comes back, in microseconds; whole. */
  readonly intervalUs: number;
  /** How far a TAT may run ahead of now: burst times interval. */
  readonly toleranceUs: number;
  /** This policy's item of `RateLimit-Policy`. */
  readonly policyItem: string;
}

export type LimitPolicies = readonly LimitPolicy[];

/** Where one limit stands after a decision. */
export interface LimitStatus {
  readonly policy: LimitPolicy;
  /** Requests that it would still let through now. */
  readonly remaining: number;
  /** Seconds until one more than `remaining` would be let through, rounded up; 0 when full. */
  readonly resetSeconds: number;
}

const US_PER_SECOND = 1_000_000;

/** Compiles one limit; undefined when it is off. */
export function compilePolicy(name: PolicyName, setting: QuotaSetting): LimitPolicy | undefined {
  if (setting === "off") return undefined;
  const { quota, windowSeconds, burst } = setting;
  // Rounded up: whole microseconds add up the same in Lua and here, and never to more than the quota.
  // By multiplication, since a division of such numbers may round down to a whole one.
  const windowUs = windowSeconds * US_PER_SECOND;
  const floorUs = Math.floor(windowUs / quota);
  const intervalUs = floorUs * quota < windowUs ? floorUs + 1 : floorUs;
  return {
    name,
    burst,
    intervalUs,
    toleranceUs: burst * intervalUs,
    policyItem: `"${name}";q=${quota};w=${windowSeconds}`,
  };
}

/** Compiles a workspace's limits, in the order in which they are checked and reported. */
export function compilePolicies(limits: {
  readonly session: QuotaSetting;
  readonly sessionDaily: QuotaSetting;
  readonly workspace: QuotaSetting;
  readonly ip: QuotaSetting;
}): LimitPolicies {
  return [
    compilePolicy("session", limits.session),
    compilePolicy("session-daily", limits.sessionDaily),
    compilePolicy("workspace", limits.workspace),
    compilePolicy("ip", limits.ip),
  ].filter((policy) => policy !== undefined);
}

/** The limit on stored answers given again. */
export interface ReplayPolicies {
  readonly number: LimitPolicy;
  /** One request is one KiB here. */
  readonly kib: LimitPolicy;
}

/** Most KiB of stored answers that a subject is given again per minute: 16 MiB. */
const REPLAYED_KIB_PER_MINUTE = 16_384;

/** Compiles the limit on replays; undefined when it is off. */
export function compileReplayPolicies(setting: QuotaSetting): ReplayPolicies | undefined {
  const number = compilePolicy("replays", setting);
  const perMinute = REPLAYED_KIB_PER_MINUTE;
  const kib = compilePolicy("replays", { quota: perMinute, windowSeconds: 60, burst: perMinute });
  return number === undefined || kib === undefined ? undefined : { number, kib };
}

/**
 * Where the limit on replays stands: as its number says, or none is left for as long as the bytes of
 * the answer that was asked for do not fit.
 *
 * @param kib size of that answer
 */
export function describeReplays(
  { number, kib: bytes }: ReplayPolicies,
  tats: { readonly numberUs: number; readonly kibUs: number },
  kib: number,
  nowUs: number,
): LimitStatus {
  const byNumber = describeLimit(number, tats.numberUs, nowUs);
  const waitUs = tats.kibUs + kib * bytes.intervalUs - nowUs - bytes.toleranceUs;
  if (waitUs <= 0) return byNumber;
  const resetSeconds = Math.max(byNumber.resetSeconds, Math.ceil(waitUs / US_PER_SECOND));
  return { policy: number, remaining: 0, resetSeconds };
}

/** Where a limit stands, from its TAT as the decision left it. */
export function describeLimit(policy: LimitPolicy, tatUs: number, nowUs: number): LimitStatus {
  const { burst, intervalUs, toleranceUs } = policy;
  const aheadUs = Math.max(tatUs - nowUs, 0);
  const remaining = Math.max(Math.floor((toleranceUs - aheadUs) / intervalUs), 0);
  const waitUs = remaining >= burst ? 0 : aheadUs - (toleranceUs - (remaining + 1) * intervalUs);
  return { policy, remaining, resetSeconds: Math.ceil(waitUs / US_PER_SECOND) };
}

/** Where each limit stands after a decision. */
export function describeLimits(
  policies: LimitPolicies,
  tatsUs: readonly number[],
  nowUs: number,
): LimitStatus[] {
  return policies.map((policy, index) => describeLimit(policy, tatsUs[index] ?? nowUs, nowUs));
}

/**
 * Renders `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers, RFC 9651 lists).
 * The policy closest to refusing comes first in both.
 */
export function renderLimitHeaders(limits: readonly LimitStatus[]): Record<string, string> {
  if (limits.length === 0) return {};
  let policies = "";
  let standings = "";
  for (const { policy, remaining, resetSeconds } of limits.toSorted(closestFirst)) {
    const separator = policies === "" ? "" : ", ";
    policies += separator + policy.policyItem;
    standings += `${separator}"${policy.name}";r=${remaining};t=${resetSeconds}`;
  }
  return { "RateLimit-Policy": policies, RateLimit: standings };
}

function closestFirst(one: LimitStatus, other: LimitStatus): number {
  return one.remaining - other.remaining || other.resetSeconds - one.resetSeconds;
}

/** What a 429 says beyond the headers above. */
export function describeRefusal(limits: readonly LimitStatus[]): {
  readonly retryAfterSeconds: number;
  readonly violatedPolicies: readonly string[];
} {
  const violated = limits.filter(({ remaining }) => remaining === 0);
  return {
    // At least 1: a refusal that is over by the time it is read would be retried in a tight loop.
    retryAfterSeconds: Math.max(1, ...violated.map(({ resetSeconds }) => resetSeconds)),
    violatedPolicies: violated.map(({ policy }) => policy.name),
  };
}
