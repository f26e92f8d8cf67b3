/**
 * Tells whether this instance can serve requests, from a check that is about one second old at
 * most.
 */
import type { Clock } from "./clock.ts";
import type { ProblemCode } from "./problem.ts";

/**
 * Least time between two checks, in milliseconds. Anyone can ask, and a check writes to the state.
 */
const CHECK_EVERY_MS = 1_000;

/** Code of the problem that prevents serving; undefined if the instance can serve. */
export type Readiness = ProblemCode | undefined;

/**
 * Creates a readiness check that runs at most once per second.
 *
 * @param check performs the check now; must not throw
 * @returns a function that returns the latest result. Requests that arrive before the first result
 *   is known each run the check: on Workers a request cannot wait for the I/O of another request.
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
