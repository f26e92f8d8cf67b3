/** Owns what the log says of the state: each change once, not each of its thousand effects. */
import type { Clock } from "../../clock.ts";
import type { Logger } from "../../logger.ts";

export interface Reachability {
  readonly failed: (reason: string) => void;
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
  return {
    failed(reason) {
      failedAtMs = clock.monotonicMs();
      if (reachable !== false) log.log("error", "state is unreachable", { reason });
      reachable = false;
    },
    succeeded() {
      if (reachable === true) return false;
      if (reachable === false) {
        if (clock.monotonicMs() - failedAtMs < quietMs) return false;
        log.log("info", "state is reachable again");
      }
      const ended = reachable === false;
      reachable = true;
      return ended;
    },
  };
}
