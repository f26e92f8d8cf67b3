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
  /** How long a refusal of our own should take, in milliseconds; 0 before anything was noted. */
  next(kind: string): number;
}

/** Times remembered of each kind; more than one, since equal ones would tell as well. */
const NOTED_MAX = 16;

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
      const times = kinds.get(kind);
      if (times === undefined) return 0;
      times.read += 1;
      return times.notedMs[times.read % times.notedMs.length] ?? 0;
    },
  };
}
