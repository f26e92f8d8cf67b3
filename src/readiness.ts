/** Answers whether the service can serve, from a check that is at most about a second old. */
import type { Clock } from "./clock.ts";
import type { ProblemCode } from "./problem.ts";

/** Anyone can ask, and a check writes to the state: so many milliseconds lie between two checks. */
const CHECK_EVERY_MS = 1_000;

/** The problem that keeps the service from serving; undefined when it can serve. */
export type Readiness = ProblemCode | undefined;

/**
 * @param check finds out now; never throws
 * @returns the latest result. Requests that come before the first result is known check by
 *   themselves: on Workers one request cannot wait for another's input and output.
 */
export function createReadiness(
  clock: Clock,
  check: () => Promise<Readiness>,
): () => Promise<Readiness> {
  let latest: { readonly readiness: Readiness } | undefined;
  let startedMs = -Infinity;
  return async () => {
    const nowMs = clock.monotonicMs();
    if (latest !== undefined && nowMs - startedMs < CHECK_EVERY_MS) return latest.readiness;
    startedMs = nowMs;
    const readiness = await check();
    latest = { readiness };
    return readiness;
  };
}
