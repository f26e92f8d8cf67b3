/** The clock of the machine: the same on Node and on Workers. */
import type { Clock } from "../clock.ts";

export const systemClock: Clock = {
  epochMs: () => Date.now(),
  monotonicMs: () => performance.now(),
};
