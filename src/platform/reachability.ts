/**
 * Logs when the state (Redis or a Durable Object) becomes unreachable and when it is back: one line
 * per change, not one per request that fails.
 */
import type { Clock } from "../clock.ts";
import type { LogFields, Logger } from "../logger.ts";

export interface Reachability {
  /**
   * Reports a failed call.
   *
   * @param cause fields of the log line
   * @param refused true where the state answered with a refusal, false where it did not answer
   */
  readonly failed: (cause: LogFields, refused?: boolean) => void;
  /**
   * Reports a successful call.
   *
   * @returns true if it ends an outage
   */
  readonly succeeded: () => boolean;
}

/**
 * Creates the outage log of one state.
 *
 * @param quietMs time without a failure before a success ends an outage, in milliseconds. In a
 *   Redis Cluster some nodes fail while others answer: with 0 each pair of calls would write two
 *   lines.
 */
export function createReachability(clock: Clock, log: Logger, quietMs: number): Reachability {
  /** Undefined until the first call has ended. */
  let reachable: boolean | undefined;
  let failedAtMs = 0;
  let refusedBefore = false;
  return {
    failed(cause, refused = false) {
      failedAtMs = clock.monotonicMs();
      // A Redis that is back and refuses (such as NOPERM) is a second fault with its own remedy.
      const isNews = refused && !refusedBefore;
      if (reachable !== false || isNews)
        log.log("error", "state is unreachable: requests get 503 until it is back", cause);
      reachable = false;
      refusedBefore ||= refused;
    },
    succeeded() {
      if (reachable === true) return false;
      if (reachable === false) {
        if (clock.monotonicMs() - failedAtMs < quietMs) return false;
        log.log("info", "state is reachable again");
      }
      refusedBefore = false;
      const ended = reachable === false;
      reachable = true;
      return ended;
    },
  };
}
