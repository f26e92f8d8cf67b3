/**
 * Owns how long "no such chat" takes. A chat that belongs to somebody else is refused without asking
 * UponAI, and a quick refusal would tell that the chat exists: so it takes as long as UponAI took of
 * late to say of a chat that it does not.
 */

export interface NotFoundPace {
  /** Notes how long UponAI took to say so, in milliseconds. */
  note(ms: number): void;
  /** How long a refusal of our own should take, in milliseconds; 0 before anything was noted. */
  next(): number;
}

/** Waits remembered; more than one, since equal waits would tell as well. */
const NOTED_MAX = 16;

export function createNotFoundPace(): NotFoundPace {
  const notedMs: number[] = [];
  let written = 0;
  let read = 0;
  return {
    note(ms) {
      notedMs[written % NOTED_MAX] = ms;
      written += 1;
    },
    next() {
      read += 1;
      return notedMs[read % Math.max(notedMs.length, 1)] ?? 0;
    },
  };
}
