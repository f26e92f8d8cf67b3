/** Reports connections that were ended without an answer: all to the metrics, some to the log. */
import type { Logger } from "../../logger.ts";
import type { CutReason, Metrics } from "../../metrics.ts";

/** An attack ends thousands of connections a second; the log says so once in this time, per reason. */
const QUIET_MS = 10_000;

/** @returns to be told of each connection that was ended */
export function createCutReport(log: Logger, metrics: Metrics): (reason: CutReason) => void {
  const lastMs = new Map<CutReason, number>();
  const unreported = new Map<CutReason, number>();
  return (reason) => {
    metrics.countCutConnection(reason);
    const count = (unreported.get(reason) ?? 0) + 1;
    unreported.set(reason, count);
    const nowMs = performance.now();
    if (nowMs - (lastMs.get(reason) ?? -QUIET_MS) < QUIET_MS) return;
    log.log("warn", "connections ended without an answer", { reason, count });
    lastMs.set(reason, nowMs);
    unreported.delete(reason);
  };
}
