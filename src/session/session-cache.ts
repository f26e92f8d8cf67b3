/**
 * Owns the memory of verified tokens, by digest, so that a session's second message costs no
 * signature check. It holds no token, and whether a session was revoked is asked each time anyway.
 */
import type { Session } from "./session.ts";

interface Entry {
  readonly session: Session;
  readonly goodUntilMs: number;
}

export interface SessionCache {
  /** The session of a token verified before, while it is good at `nowMs` (epoch milliseconds). */
  find(tokenDigest: string, nowMs: number): Session | undefined;
  add(tokenDigest: string, session: Session, goodUntilMs: number): void;
}

/** @param sizeMax sessions kept; the least recently used one makes room */
export function createSessionCache(sizeMax: number): SessionCache {
  // A Map iterates in insertion order: re-inserting on use keeps the least recently used first.
  const entries = new Map<string, Entry>();
  return {
    find(tokenDigest, nowMs) {
      const entry = entries.get(tokenDigest);
      if (entry === undefined) return undefined;
      entries.delete(tokenDigest);
      if (nowMs >= entry.goodUntilMs) return undefined;
      entries.set(tokenDigest, entry);
      return entry.session;
    },
    add(tokenDigest, session, goodUntilMs) {
      if (entries.size >= sizeMax) {
        const oldest = entries.keys().next();
        if (oldest.done !== true) entries.delete(oldest.value);
      }
      entries.set(tokenDigest, { session, goodUntilMs });
    },
  };
}
