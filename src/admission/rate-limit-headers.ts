/** Owns how limits are told to the client (draft-ietf-httpapi-ratelimit-headers, RFC 9651 lists). */
import type { LimitStatus } from "./limit-policy.ts";

/** `RateLimit-Policy` and `RateLimit`; the policy closest to refusing comes first in both. */
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
