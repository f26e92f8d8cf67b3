/**
 * Bounds how many slow request bodies one client address, and one subject, may have under way at a
 * time. A slow body costs a socket and memory for up to ten seconds; without a bound, one client could
 * hold as many as it can open.
 */
import type { Clock } from "../clock.ts";

export interface SlowBodyGate {
  /**
   * Starts one slow body for a set of holders, such as an address and a subject.
   *
   * @returns how to end it, to be called exactly once; undefined where one holder has too many
   */
  enter(holders: readonly SlowBodyHolder[]): (() => void) | undefined;
}

export interface SlowBodyHolder {
  readonly key: string;
  /** Most slow bodies that this holder may have under way, 1 or more. */
  readonly bodiesMax: number;
}

/**
 * Memory is bounded by the bodies under way: a holder without one is forgotten.
 *
 * @param lifeMs longest that a body can be under way. Cloudflare can end a request without running
 *   the rest of its code; what it held then counts for no longer than this.
 */
export function createSlowBodyGate(clock: Clock, lifeMs: number): SlowBodyGate {
  /** Times by which each holder's bodies are over. */
  const endsMs = new Map<string, number[]>();
  const listOpen = (key: string, nowMs: number) =>
    (endsMs.get(key) ?? []).filter((endMs) => endMs > nowMs);
  const keep = (key: string, ends: number[]) => {
    if (ends.length === 0) endsMs.delete(key);
    else endsMs.set(key, ends);
  };
  return {
    enter(holders) {
      const nowMs = clock.monotonicMs();
      const endMs = nowMs + lifeMs;
      const open = holders.map(({ key }) => listOpen(key, nowMs));
      if (holders.some(({ bodiesMax }, index) => (open[index]?.length ?? 0) >= bodiesMax)) {
        return undefined;
      }
      for (const [index, { key }] of holders.entries()) keep(key, [...(open[index] ?? []), endMs]);
      return () => {
        for (const { key } of holders) {
          const ends = endsMs.get(key) ?? [];
          const at = ends.indexOf(endMs);
          keep(key, at === -1 ? ends : ends.toSpliced(at, 1));
        }
      };
    },
  };
}
