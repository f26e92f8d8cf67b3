/** Owns the time of the machine, as the product sees it, on any platform. */
import type { Clock } from "../clock.ts";

export const systemClock: Clock = {
  epochMs: () => Date.now(),
  monotonicMs: () => performance.now(),
};
