/** Bounds how many requests are worked on at once, and refuses new ones while the process stops. */
import { Problem } from "./problem.ts";

export interface LoadGate {
  /**
   * Refuses a new request while the service stops.
   * @throws Problem `shutting_down`
   */
  requireRunning(): void;
  /**
   * Refuses a request while every place is taken; takes none. It saves reading a body in vain.
   * @throws Problem `overloaded`
   */
  requireRoom(): void;
  /**
   * Takes a place for one request, which must `leave` exactly once. A request that arrived before the
   * drain began may still enter: its client was told nothing else.
   * @throws Problem `overloaded`
   */
  enter(): void;
  leave(): void;
  /** Says that the process is about to stop; requests are still let in. */
  announceStop(): void;
  /** Refuses new requests; resolves when no request is inside. */
  drain(): Promise<void>;
  /** True from `announceStop` or `drain` on: load balancers should send no more. */
  readonly stopping: boolean;
  readonly draining: boolean;
  readonly inFlight: number;
}

/** @param inFlightMax requests inside at once, 1 or more */
export function createLoadGate(inFlightMax: number): LoadGate {
  const idle = Promise.withResolvers<undefined>();
  let inFlight = 0;
  let stopping = false;
  let draining = false;
  const requireRoom = () => {
    if (inFlight >= inFlightMax) throw new Problem("overloaded");
  };
  return {
    requireRunning() {
      if (draining) throw new Problem("shutting_down");
    },
    requireRoom,
    enter() {
      requireRoom();
      inFlight += 1;
    },
    leave() {
      inFlight -= 1;
      if (draining && inFlight === 0) idle.resolve(undefined);
    },
    announceStop() {
      stopping = true;
    },
    async drain() {
      stopping = true;
      draining = true;
      if (inFlight === 0) idle.resolve(undefined);
      await idle.promise;
    },
    get stopping() {
      return stopping;
    },
    get draining() {
      return draining;
    },
    get inFlight() {
      return inFlight;
    },
  };
}
