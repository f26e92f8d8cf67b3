/**
 * Cache of the sessions of verified credentials, by the digest of the credential. It saves the
 * verification of each further request. It holds no token. Revocation is checked per request, not
 * here.
 */
import type { Session } from "./session.ts";

interface CachedSession {
  readonly session: Session;
  readonly validUntilMs: number;
}

/** Bounded cache with least-recently-used eviction. */
export interface SessionCache {
  /** Returns the session if it is cached and valid at `nowMs` (milliseconds since the epoch). */
  find(digest: string, nowMs: number): Session | undefined;
  /** Adds a session; it is valid until `validUntilMs` (milliseconds since the epoch). */
  add(digest: string, session: Session, validUntilMs: number): void;
}

/**
 * Creates a cache.
 *
 * @param sizeMax most sessions, 1 or more; at the limit the least recently used one is dropped
 */
export function createSessionCache(sizeMax: number): SessionCache {
  // A Map iterates in insertion order. Each use inserts the entry again, so the least recently used
  // entry is always the first.
  const entries = new Map<string, CachedSession>();
  return {
    find(digest, nowMs) {
      const entry = entries.get(digest);
      if (entry === undefined) return undefined;
      entries.delete(digest);
      if (nowMs >= entry.validUntilMs) return undefined;
      entries.set(digest, entry);
      return entry.session;
    },
    add(digest, session, validUntilMs) {
      if (entries.size >= sizeMax) {
        const oldest = entries.keys().next();
        if (oldest.done !== true) entries.delete(oldest.value);
      }
      entries.set(digest, { session, validUntilMs });
    },
  };
}
