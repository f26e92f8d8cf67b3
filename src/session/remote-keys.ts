/**
 * The issuer's keys behind `SESSION_JWKS_URL`: when they are fetched, and what holds when they cannot
 * be. It verifies nothing.
 *
 * The library's own remote key set counts its pause from the last success, so in an outage every
 * token with an unknown key id would fetch again; here success and failure pause alike, and the
 * last good keys stay.
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
  readFetchedJwks,
} from "./key-source.ts";

/** Least time between two fetches while there are keys, however many unknown key ids arrive. */
export const REFRESH_PAUSE_MS = 30_000;
/** The same while there are none: nothing works, so recovery should show soon. */
const FIRST_FETCH_PAUSE_MS = 1_000;
/** Past this age the keys are fetched again, so that a withdrawn key stops working. */
export const KEYS_AGE_MAX_MS = 600_000;
/** Longest fetch; some request is waiting for it. */
const FETCH_TIMEOUT_MS = 5_000;
/** Longer than its two waits, for the head and for the body: a fetch that ended with its request. */
const FETCH_LOST_MS = 2 * FETCH_TIMEOUT_MS + 1_000;
/** How often a request looks whether another's fetch is done. */
const POLL_EVERY_MS = 20;
/** Tokens of unknown keys remembered, so that each is refused once the issuer was asked after it came. */
const UNKNOWN_TOKENS_MAX = 1_000;
/** Characters of a signature that tell two tokens apart: 192 bits. */
const SIGNATURE_CHARS = 32;
/** Largest key set; real ones are a few KiB. */
const KEYS_BYTES_MAX = 262_144;

/** The headers of a request for a key set. */
export const KEYS_HEADERS = {
  Accept: "application/jwk-set+json, application/json",
  "User-Agent": USER_AGENT,
};

/** As much of `fetch` as a key set takes. */
export type FetchKeys = (
  url: string,
  init: {
    readonly headers: Record<string, string>;
    readonly redirect: "manual";
    readonly signal: AbortSignal;
  },
) => Promise<{ readonly status: number; readonly body: ReadableStream<Uint8Array> | null }>;

export interface RemoteKeysOptions {
  readonly url: string;
  readonly fetch: FetchKeys;
  readonly clock: Clock;
  readonly log: Logger;
  /**
   * Given where a fetch belongs to the request that began it (Workers): keeps it going when that
   * request is answered. Other requests then share what it learns, never the fetch itself.
   */
  readonly background?: (work: Promise<void>) => void;
}

export function createRemoteKeySource(options: RemoteKeysOptions): KeySource {
  const { url, fetch, clock, log, background } = options;
  let keys: JWTVerifyGetKey | undefined;
  let keyIds: ReadonlySet<unknown> = new Set();
  let fetchedAtMs = -Infinity;
  /** When the fetch began that brought the keys: what the issuer had added by then is in them. */
  let askedAtMs = -Infinity;
  const unknownTokens = createFirstSights(UNKNOWN_TOKENS_MAX);
  let triedAtMs = -Infinity;
  let failing = false;
  let pending: Promise<void> | undefined;

  const pauseLeftMs = () => {
    const pauseMs = keys === undefined ? FIRST_FETCH_PAUSE_MS : REFRESH_PAUSE_MS;
    return triedAtMs + pauseMs - clock.monotonicMs();
  };
  const unavailable = () => new KeysUnavailable(Math.max(Math.ceil(pauseLeftMs() / 1_000), 1));

  /** One fetch at a time; those who come meanwhile wait for the same one. */
  const refresh = (): Promise<void> => {
    const isLost = background !== undefined && clock.monotonicMs() - triedAtMs > FETCH_LOST_MS;
    if (pending !== undefined && !isLost) {
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
      // While the issuer is out, nobody waits for it: the last good keys serve.
      if (failing) void refresh();
      else await refresh();
    }
    if (keys === undefined) throw unavailable();
    try {
      return await keys(header, token);
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey)) throw error;
    }
    // By its signature: another's token that only names the same key must not age this one.
    const seenAtMs = unknownTokens.note(token.signature.slice(0, SIGNATURE_CHARS), cameAtMs);
    await refresh();
    try {
      return await keys(header, token);
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey)) throw error;
      // The issuer may have added the key after it was last asked: a new key is no wrong credential.
      // It is one where the issuer was asked since, or has that key for another algorithm.
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

/** When each token of an unknown key was seen first. */
interface FirstSights {
  /** @returns when it was seen first, in milliseconds; `nowMs` where that is not remembered */
  note(name: string, nowMs: number): number;
}

/** @param sizeMax entries kept; the oldest makes room, and is new when it comes again */
function createFirstSights(sizeMax: number): FirstSights {
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

/** Waits by timers of the caller's own request, as long as a fetch can take. */
async function pollUntil(isDone: () => boolean): Promise<void> {
  for (let waitedMs = 0; waitedMs < FETCH_LOST_MS && !isDone(); waitedMs += POLL_EVERY_MS) {
    await new Promise((resolve) => setTimeout(resolve, POLL_EVERY_MS));
  }
}

/** Fetches a key set; undefined for any failure. Redirects count as one: the URL is the trust. */
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
    return await readFetchedJwks(JSON.parse(new TextDecoder().decode(body.bytes)));
  } catch {
    return undefined;
  }
}
