/**
 * Owns how long "no such chat" takes. A chat that belongs to somebody else is refused without asking
 * UponAI, and a quick refusal would tell that the chat exists: so it takes as long as UponAI took of
 * late to say of a chat that it does not.
 */

export interface NotFoundPace {
  /**
   * Notes how long UponAI took to say so.
   *
   * @param kind what was asked: different requests take different times
   * @param ms milliseconds from admission to the answer
   */
  note(kind: string, ms: number): void;
  /**
   * How long a refusal of our own should take, in milliseconds, at most two seconds. Before anything
   * of its kind was noted, as long as another kind took; 0 before anything was noted at all.
   */
  next(kind: string): number;
}

/** Times remembered of each kind; more than one, since equal ones would tell as well. */
const NOTED_MAX = 16;

/** A refusal holds a place among the requests in flight: a slow UponAI must not make it last. */
const PACE_MS_MAX = 2_000;

export function createNotFoundPace(): NotFoundPace {
  const kinds = new Map<string, { readonly notedMs: number[]; written: number; read: number }>();
  return {
    note(kind, ms) {
      const times = kinds.get(kind) ?? { notedMs: [], written: 0, read: 0 };
      kinds.set(kind, times);
      times.notedMs[times.written % NOTED_MAX] = ms;
      times.written += 1;
    },
    next(kind) {
      const [any] = kinds.values();
      const times = kinds.get(kind) ?? any;
      if (times === undefined) return 0;
      times.read += 1;
      return Math.min(times.notedMs[times.read % times.notedMs.length] ?? 0, PACE_MS_MAX);
    },
  };
}
