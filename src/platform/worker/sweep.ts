/** Decides when an object deletes its expired values: often enough that they do not pile up. */

/**
 * Time from an object's first value to its first sweep, and least time between sweeps, in
 * milliseconds.
 */
export const SWEEP_EVERY_MS = 600_000;
/**
 * Longest time between two sweeps, in milliseconds: an expired value is stored no longer than that.
 */
export const SWEEP_PAUSE_MAX_MS = 86_400_000;
/**
 * For each so many values the next sweep is `SWEEP_EVERY_MS` later: a sweep reads every value
 * twice, and Cloudflare charges for the rows that are read.
 */
const VALUES_PER_PAUSE = 5_000;

/** The values that are left after a sweep. */
export interface Swept {
  readonly values: number;
  /** Time until the first of them expires, in milliseconds. */
  readonly nextExpiryMs: number;
}

/** Returns the time from this sweep to the next, in milliseconds: 10 minutes to 24 hours. */
export function chooseSweepPauseMs({ values, nextExpiryMs }: Swept): number {
  const affordableMs = SWEEP_EVERY_MS * Math.ceil(values / VALUES_PER_PAUSE);
  return Math.min(Math.max(affordableMs, nextExpiryMs), SWEEP_PAUSE_MAX_MS);
}
