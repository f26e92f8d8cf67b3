/** Owns telling operators when UponAI is left alone, and when it answers again. */
import type { Clock } from "../clock.ts";
import type { Logger } from "../logger.ts";
import type { Metrics } from "../metrics.ts";
import { type CircuitBreaker, createCircuitBreaker } from "./circuit-breaker.ts";

/** The circuit of the upstream's one origin, at its standard settings. */
export function createReportedCircuit(clock: Clock, log: Logger, metrics: Metrics): CircuitBreaker {
  let leftAlone = false;
  return createCircuitBreaker(clock, (state) => {
    metrics.setCircuit(state);
    if (state === "open") {
      // An outage is told once, not again with each probe that fails.
      if (!leftAlone) log.log("error", "UponAI keeps failing and is left alone");
      leftAlone = true;
    }
    if (state === "closed") {
      leftAlone = false;
      log.log("info", "UponAI answers again");
    }
  });
}
