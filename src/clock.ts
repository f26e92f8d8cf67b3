/** The source of time of this program. Tests replace it by a clock that they move. */
export interface Clock {
  /** Milliseconds since the Unix epoch. Can jump when the machine's clock is set. */
  epochMs(): number;
  /** Milliseconds since a fixed moment. Never goes back; for durations and deadlines. */
  monotonicMs(): number;
}
