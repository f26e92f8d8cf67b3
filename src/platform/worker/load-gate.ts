/**
 * Limits how many requests one isolate handles at once. Cloudflare can end a request without notice
 * (half a minute after its client has left), so each place belongs to one request and expires.
 */
import type { Clock } from "../../clock.ts";
import type { LoadGate } from "../../load-gate.ts";
import { Problem } from "../../problem.ts";
import { currentScope, type RequestScope } from "./request-scope.ts";

/**
 * Creates the gate of one isolate. A full gate refuses with `overloaded`.
 *
 * @param inFlightMax most requests at once, 1 or more
 * @param lifeMs longest time of any request, in milliseconds; an older one counts as ended
 */
export function createWorkerGate(inFlightMax: number, lifeMs: number, clock: Clock): LoadGate {
  // In order of arrival, so that the first ones expire first.
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
    // Cloudflare replaces a version request by request, so an isolate never stops or drains.
    requireRunning: () => undefined,
    requireRoom,
    enter() {
      requireRoom();
      inside.set(currentScope(), clock.monotonicMs());
    },
    leave: () => void inside.delete(currentScope()),
    announceStop: () => undefined,
    drain: () => Promise.resolve(),
    onDrain: () => undefined,
    stopping: false,
    draining: false,
    get inFlight() {
      return inside.size;
    },
  };
}
