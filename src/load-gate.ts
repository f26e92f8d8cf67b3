/** Owns how many requests are worked on at once, and that none is begun while stopping. */
import { Problem } from "./problem.ts";

export interface LoadGate {
  /**
   * Lets one request in; it must `leave` exactly once.
   * @throws Problem `shutting_down` or `overloaded`, before any work is done
   */
  enter(): void;
  leave(): void;
  /** Refuses all further requests; resolves when the last one inside has left. */
  drain(): Promise<void>;
  readonly draining: boolean;
  readonly inFlight: number;
}

/** @param inFlightMax requests inside at once, 1 or more */
export function createLoadGate(inFlightMax: number): LoadGate {
  const idle = Promise.withResolvers<undefined>();
  let inFlight = 0;
  let draining = false;
  return {
    enter() {
      if (draining) throw new Problem("shutting_down");
      if (inFlight >= inFlightMax) throw new Problem("overloaded");
      inFlight += 1;
    },
    leave() {
      inFlight -= 1;
      if (draining && inFlight === 0) idle.resolve(undefined);
    },
    async drain() {
      draining = true;
      if (inFlight === 0) idle.resolve(undefined);
      await idle.promise;
    },
    get draining() {
      return draining;
    },
    get inFlight() {
      return inFlight;
    },
  };
}
