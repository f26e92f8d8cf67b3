/**
 * Bounds the number of slow request bodies at a time, per client address and per subject. A slow
 * body holds a socket and memory for up to ten seconds; without the bound one client could exhaust
 * both.
 */
import type { Clock } from "../clock.ts";

/** Counts the slow bodies of each holder. */
export interface SlowBodyGate {
  /**
   * Takes one place for a slow body at each of its holders, such as an address and a subject.
   *
   * @returns a function that gives the places back, to be called exactly once; undefined if a
   *   holder has too many slow bodies
   */
  enter(holders: readonly SlowBodyHolder[]): (() => void) | undefined;
}

/** A client address or a subject, with its bound. */
export interface SlowBodyHolder {
  readonly key: string;
  /** Most slow bodies of this holder at a time, 1 or more. */
  readonly bodiesMax: number;
}

/**
 * Creates the gate of one process. Its memory is bounded by the slow bodies in progress: a holder
 * without any is removed.
 *
 * @param lifeMs longest time that a body can be in progress, in milliseconds. Cloudflare can end a
 *   request without running the rest of its code; its places are then free after this time.
 */
export function createSlowBodyGate(clock: Clock, lifeMs: number): SlowBodyGate {
  /** For each holder: the latest times at which its slow bodies end. */
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
