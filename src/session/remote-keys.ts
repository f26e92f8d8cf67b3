/**
 * Fetches and caches the issuer's keys from `SESSION_JWKS_URL`.
 *
 * jose's `createRemoteJWKSet` counts its pause between two fetches from the last success. In an
 * outage of the issuer each token with an unknown key id would then cause a fetch. Here the pause
 * follows a failure as well, and the last good keys stay in use.
 */
import { errors, type JSONWebKeySet, type JWTVerifyGetKey } from "jose";

import type { Clock } from "../clock.ts";
import { readStream } from "../http/read-stream.ts";
import type { Logger } from "../logger.ts";
import { USER_AGENT } from "../version.ts";
import {
  createKeyFinder,
  type KeySource,
  KeysUnavailable,
  PUBLIC_KEY_ALGORITHMS,
  parseFetchedJwks,
} from "./key-source.ts";

/**
 * Least time between two fetches while there are keys, in milliseconds; unknown key ids included.
 */
export const REFRESH_PAUSE_MS = 30_000;
/** The same while there are no keys: no session can be checked, so the next attempt comes soon. */
const FIRST_FETCH_PAUSE_MS = 1_000;
/**
 * Age after which the keys are fetched again, in milliseconds, so that a withdrawn key stops
 * working.
 */
export const KEYS_AGE_MAX_MS = 600_000;
/** Time limit of a fetch, in milliseconds; requests wait for it. */
const FETCH_TIMEOUT_MS = 5_000;
/**
 * Age after which a fetch on Workers counts as cancelled, in milliseconds: longer than its time
 * limits for the head and for the body together. The platform cancels a fetch with the request that
 * began it.
 */
const FETCH_CANCELLED_MS = 2 * FETCH_TIMEOUT_MS + 1_000;
/**
 * Interval at which a request checks whether the fetch of another request is done, in milliseconds.
 */
const POLL_EVERY_MS = 20;
/** Most tokens with unknown keys that are remembered; see `getKey`. */
const UNKNOWN_TOKENS_MAX = 1_000;
/** Characters of a signature that identify a token: 192 bits. */
const SIGNATURE_CHARS = 32;
/** Largest key set, in bytes; real ones are a few KiB. */
const KEYS_BYTES_MAX = 262_144;

/** Headers of the request for a key set. */
export const KEYS_HEADERS = {
  Accept: "application/jwk-set+json, application/json",
  "User-Agent": USER_AGENT,
};

/** The part of `fetch` that fetching a key set uses. */
export type FetchKeys = (
  url: string,
  init: {
    readonly headers: Record<string, string>;
    readonly redirect: "manual";
    readonly signal: AbortSignal;
  },
) => Promise<{ readonly status: number; readonly body: ReadableStream<Uint8Array> | null }>;

/** Source of the keys and the services that fetching them needs. */
export interface RemoteKeysOptions {
  readonly url: string;
  readonly fetch: FetchKeys;
  readonly clock: Clock;
  readonly log: Logger;
  /**
   * Set on Workers, where a fetch belongs to the request that began it: keeps the fetch running
   * after that request is answered (`waitUntil`). Other requests share the fetched keys, but cannot
   * await the fetch itself. Undefined on Node.
   */
  readonly background?: (work: Promise<void>) => void;
}

/**
 * Creates the key source. It fetches the keys when the first token arrives, when they are older
 * than 10 minutes, and when a token names an unknown key.
 */
export function createRemoteKeySource(options: RemoteKeysOptions): KeySource {
  const { url, fetch, clock, log, background } = options;
  let keys: JWTVerifyGetKey | undefined;
  let keyIds: ReadonlySet<unknown> = new Set();
  let fetchedAtMs = -Infinity;
  /**
   * When the fetch of the present keys began. They include all keys that the issuer had by then.
   */
  let askedAtMs = -Infinity;
  const unknownTokens = createFirstSeen(UNKNOWN_TOKENS_MAX);
  let triedAtMs = -Infinity;
  let failing = false;
  let pending: Promise<void> | undefined;

  const pauseLeftMs = () => {
    const pauseMs = keys === undefined ? FIRST_FETCH_PAUSE_MS : REFRESH_PAUSE_MS;
    return triedAtMs + pauseMs - clock.monotonicMs();
  };
  const unavailable = () => new KeysUnavailable(Math.max(Math.ceil(pauseLeftMs() / 1_000), 1));

  /**
   * Fetches the keys unless the pause is on. One fetch at a time: concurrent requests wait for it.
   */
  const refresh = (): Promise<void> => {
    const isCancelled =
      background !== undefined && clock.monotonicMs() - triedAtMs > FETCH_CANCELLED_MS;
    if (pending !== undefined && !isCancelled) {
      return background === undefined ? pending : pollUntil(() => pending === undefined);
    }
    if (pauseLeftMs() > 0) return Promise.resolve();
    triedAtMs = clock.monotonicMs();
    pending = fetchKeys(triedAtMs).finally(() => {
      pending = undefined;
    });
    background?.(pending);
    return pending;
  };

  const fetchKeys = async (beganAtMs: number): Promise<void> => {
    const fetched = await fetchKeySet(url, fetch);
    failing = fetched === undefined;
    if (fetched === undefined) {
      log.log("error", "session keys could not be fetched", { keptKeys: keys !== undefined });
      return;
    }
    keys = createKeyFinder(fetched);
    keyIds = new Set(fetched.keys.map(({ kid }) => kid));
    fetchedAtMs = clock.monotonicMs();
    askedAtMs = beganAtMs;
  };

  const getKey: JWTVerifyGetKey = async (header, token) => {
    const cameAtMs = clock.monotonicMs();
    if (keys === undefined) await refresh();
    else if (clock.monotonicMs() - fetchedAtMs > KEYS_AGE_MAX_MS) {
      // After a failed fetch, requests do not wait for the next one: the last good keys serve them.
      if (failing) void refresh();
      else await refresh();
    }
    if (keys === undefined) throw unavailable();
    try {
      return await keys(header, token);
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey)) throw error;
    }
    // Identified by its signature, not by its key id: another token that names the same key must
    // not change when this token was seen first.
    const seenAtMs = unknownTokens.note(token.signature.slice(0, SIGNATURE_CHARS), cameAtMs);
    await refresh();
    try {
      return await keys(header, token);
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey)) throw error;
      // The issuer may have added the key after the last fetch, so this may be no wrong credential.
      // It is wrong if a fetch began after the token was seen first and did not bring the key, or
      // if the issuer has a key of this id that does not fit the token's algorithm.
      const isKnown = header.kid !== undefined && keyIds.has(header.kid);
      if (isKnown || seenAtMs <= askedAtMs) throw error;
      throw unavailable();
    }
  };

  return {
    algorithms: PUBLIC_KEY_ALGORITHMS,
    getKey,
    isUsable: async () => {
      if (keys === undefined) await refresh();
      return keys !== undefined;
    },
  };
}

/** Remembers when each token with an unknown key was seen first. */
interface FirstSeen {
  /** Returns when the token was seen first, in monotonic milliseconds; `nowMs` if it is new. */
  note(name: string, nowMs: number): number;
}

/**
 * @param sizeMax most entries. At the limit the oldest is dropped, and counts as new if it returns.
 */
function createFirstSeen(sizeMax: number): FirstSeen {
  const seen = new Map<string, number>();
  return {
    note(name, nowMs) {
      const known = seen.get(name);
      if (known !== undefined) return known;
      if (seen.size >= sizeMax) {
        const oldest = seen.keys().next();
        if (oldest.done !== true) seen.delete(oldest.value);
      }
      seen.set(name, nowMs);
      return nowMs;
    },
  };
}

/**
 * Waits until `isDone`, at most as long as a fetch can take. It polls with timers of the own
 * request: on Workers a request cannot await a promise of another request.
 */
async function pollUntil(isDone: () => boolean): Promise<void> {
  for (let waitedMs = 0; waitedMs < FETCH_CANCELLED_MS && !isDone(); waitedMs += POLL_EVERY_MS) {
    await new Promise((resolve) => setTimeout(resolve, POLL_EVERY_MS));
  }
}

/**
 * Fetches a key set; undefined for any failure. A redirect is a failure, because the operator
 * trusts only the configured URL.
 */
async function fetchKeySet(url: string, fetch: FetchKeys): Promise<JSONWebKeySet | undefined> {
  try {
    const response = await fetch(url, {
      headers: KEYS_HEADERS,
      redirect: "manual",
      signal: AbortSignal.timeout(FETCH_TIMEOUT_MS),
    });
    const body = await readStream(response.body, {
      bytesMax: KEYS_BYTES_MAX,
      timeoutMs: FETCH_TIMEOUT_MS,
    });
    if (response.status !== 200 || body.kind !== "read") return undefined;
    return await parseFetchedJwks(JSON.parse(new TextDecoder().decode(body.bytes)));
  } catch {
    return undefined;
  }
}
