/** Owns when an object's expired values are swept: so often that they do not pile up, and no oftener. */

/** How long after its first value an object is swept, and the least time between two sweeps, in milliseconds. */
export const SWEEP_EVERY_MS = 600_000;
/** Longest time between two sweeps: what expired lies no longer than that. */
export const SWEEP_PAUSE_MAX_MS = 86_400_000;
/** A sweep reads every value, twice, and is paid by what it reads: so many more, so much later. */
const VALUES_PER_PAUSE = 5_000;

/** What a sweep left. */
export interface Swept {
  readonly values: number;
  /** When the first of them expires, in milliseconds from now. */
  readonly nextExpiryMs: number;
}

/** How long after this sweep the next one is due, in milliseconds. */
export function chooseSweepPauseMs({ values, nextExpiryMs }: Swept): number {
  const affordableMs = SWEEP_EVERY_MS * Math.ceil(values / VALUES_PER_PAUSE);
  return Math.min(Math.max(affordableMs, nextExpiryMs), SWEEP_PAUSE_MAX_MS);
}
