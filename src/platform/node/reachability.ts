/** Tells the log of changes of the state: each one once, not each of its thousand effects. */
import type { Clock } from "../../clock.ts";
import type { Logger } from "../../logger.ts";

export interface Reachability {
  /**
   * @param reason a word for it
   * @param refused whether the state itself refuses, rather than that there is no connection to it
   */
  readonly failed: (reason: string, refused?: boolean) => void;
  /** Whether this success ends an outage. */
  readonly succeeded: () => boolean;
}

/**
 * @param quietMs how long nothing must have failed before a success ends an outage, in
 *   milliseconds; where some nodes fail and others answer, the lines would alternate without it
 */
export function createReachability(clock: Clock, log: Logger, quietMs: number): Reachability {
  /** Undefined until either was seen. */
  let reachable: boolean | undefined;
  let failedAtMs = 0;
  let refusedBefore = false;
  return {
    failed(reason, refused = false) {
      failedAtMs = clock.monotonicMs();
      // A Redis that is back but refuses us is another fault than the outage it came out of.
      const isNews = refused && !refusedBefore;
      if (reachable !== false || isNews) log.log("error", "state is unreachable", { reason });
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
