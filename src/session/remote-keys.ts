/**
 * Owns the issuer's keys behind `SESSION_JWKS_URL`: when they are fetched, and what holds when they
 * cannot be. It verifies nothing.
 *
 * The library's own remote key set counts its pause from the last success, so in an outage every
 * token with an unknown key id would fetch again; here success and failure pause alike, and the
 * last good keys stay.
 */
import { createLocalJWKSet, errors, type JWTVerifyGetKey } from "jose";

import type { Clock } from "../clock.ts";
import { readStream } from "../http/read-stream.ts";
import type { Logger } from "../logger.ts";
import { USER_AGENT } from "../version.ts";
import {
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
  let fetchedAtMs = -Infinity;
  let triedAtMs = -Infinity;
  let failing = false;
  let pending: Promise<void> | undefined;

  const mayRefresh = () =>
    clock.monotonicMs() - triedAtMs >=
    (keys === undefined ? FIRST_FETCH_PAUSE_MS : REFRESH_PAUSE_MS);

  /** One fetch at a time; those who come meanwhile wait for the same one. */
  const refresh = (): Promise<void> => {
    const isLost = background !== undefined && clock.monotonicMs() - triedAtMs > FETCH_LOST_MS;
    if (pending !== undefined && !isLost) {
      return background === undefined ? pending : pollUntil(() => pending === undefined);
    }
    if (!mayRefresh()) return Promise.resolve();
    triedAtMs = clock.monotonicMs();
    pending = fetchKeys().finally(() => {
      pending = undefined;
    });
    background?.(pending);
    return pending;
  };

  const fetchKeys = async (): Promise<void> => {
    const fetched = await fetchKeySet(url, fetch);
    failing = fetched === undefined;
    if (fetched === undefined) {
      log.log("error", "session keys could not be fetched", { keptKeys: keys !== undefined });
      return;
    }
    keys = fetched;
    fetchedAtMs = clock.monotonicMs();
  };

  const getKey: JWTVerifyGetKey = async (header, token) => {
    if (keys === undefined) await refresh();
    else if (clock.monotonicMs() - fetchedAtMs > KEYS_AGE_MAX_MS) {
      // While the issuer is out, nobody waits for it: the last good keys serve.
      if (failing) void refresh();
      else await refresh();
    }
    if (keys === undefined) throw new KeysUnavailable();
    try {
      return await keys(header, token);
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey)) throw error;
      await refresh();
      return keys(header, token);
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

/** Waits by timers of the caller's own request, as long as a fetch can take. */
async function pollUntil(isDone: () => boolean): Promise<void> {
  for (let waitedMs = 0; waitedMs < FETCH_LOST_MS && !isDone(); waitedMs += POLL_EVERY_MS) {
    await new Promise((resolve) => setTimeout(resolve, POLL_EVERY_MS));
  }
}

/** Fetches a key set; undefined for any failure. Redirects count as one: the URL is the trust. */
async function fetchKeySet(url: string, fetch: FetchKeys): Promise<JWTVerifyGetKey | undefined> {
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
    const set = await readFetchedJwks(JSON.parse(new TextDecoder().decode(body.bytes)));
    return set === undefined ? undefined : createLocalJWKSet(set);
  } catch {
    return undefined;
  }
}
