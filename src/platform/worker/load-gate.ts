/**
 * Bounds how many requests one isolate works on at once. The platform can end a request without a
 * word (half a minute after its client has left), so places are held by request, and for a time.
 */
import type { Clock } from "../../clock.ts";
import type { LoadGate } from "../../load-gate.ts";
import { Problem } from "../../problem.ts";
import { currentScope, type RequestScope } from "./request-scope.ts";

/**
 * @param inFlightMax requests inside at once, 1 or more
 * @param lifeMs longest that any request can take; whoever is inside for longer was ended
 */
export function createWorkerGate(inFlightMax: number, lifeMs: number, clock: Clock): LoadGate {
  // In the order in which they came, so that the ones to give up are first.
  const inside = new Map<RequestScope, number>();
  const requireRoom = () => {
    if (inside.size < inFlightMax) return;
    const nowMs = clock.monotonicMs();
    for (const [scope, enteredMs] of inside) {
      if (nowMs - enteredMs <= lifeMs) break;
      inside.delete(scope);
    }
    if (inside.size >= inFlightMax) throw new Problem("overloaded");
  };
  return {
    // A new version takes over request by request: there is nothing to stop.
    requireRunning: () => undefined,
    requireRoom,
    enter() {
      requireRoom();
      inside.set(currentScope(), clock.monotonicMs());
    },
    leave: () => void inside.delete(currentScope()),
    // A new version takes over request by request; there is nothing to drain.
    announceStop: () => undefined,
    drain: () => Promise.resolve(),
    stopping: false,
    draining: false,
    get inFlight() {
      return inside.size;
    },
  };
}
