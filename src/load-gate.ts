/** Bounds the number of requests in progress, and refuses new requests while the process stops. */
import { Problem } from "./problem.ts";

export interface LoadGate {
  /**
   * Refuses a new request while the process drains.
   *
   * @throws Problem `shutting_down`
   */
  requireRunning(): void;
  /**
   * Refuses a request while all places are taken. It takes no place; it saves reading the body of a
   * request that would be refused.
   *
   * @throws Problem `overloaded`
   */
  requireRoom(): void;
  /**
   * Takes a place for one request, which must `leave` exactly once. A request that passed
   * `requireRunning` before the drain began may still enter.
   *
   * @throws Problem `overloaded`
   */
  enter(): void;
  /** Gives a place back. */
  leave(): void;
  /** Sets `stopping`. Requests are still accepted. */
  announceStop(): void;
  /** Refuses new requests from now on, and resolves when no request is in progress. */
  drain(): Promise<void>;
  /** Calls `listener` once when the process begins to drain. */
  onDrain(listener: () => void): void;
  /** True after `announceStop` or `drain`: load balancers should send no more requests. */
  readonly stopping: boolean;
  /** True after `drain`. */
  readonly draining: boolean;
  /** Requests in progress. */
  readonly inFlight: number;
}

/**
 * Creates the gate of one process.
 *
 * @param inFlightMax most requests in progress at a time, 1 or more
 */
export function createLoadGate(inFlightMax: number): LoadGate {
  const idle = Promise.withResolvers<undefined>();
  const drainListeners: (() => void)[] = [];
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
      for (const listener of drainListeners.splice(0)) listener();
      if (inFlight === 0) idle.resolve(undefined);
      await idle.promise;
    },
    onDrain: (listener) => void drainListeners.push(listener),
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
