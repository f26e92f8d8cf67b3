import { generateKeyPairSync, type KeyObject } from "node:crypto";

import { errors } from "jose";
import { beforeEach, describe, expect, test, vi } from "vitest";

import { KeysUnavailable, type KeySource } from "./key-source.ts";
import { createRemoteKeySource, KEYS_AGE_MAX_MS, REFRESH_PAUSE_MS } from "./remote-keys.ts";

const URL_OF_KEYS = "https://issuer.example/jwks.json";
const SECOND = 1_000;
const DAY = 86_400_000;

const publicKey: KeyObject = generateKeyPairSync("ec", { namedCurve: "P-256" }).publicKey;
const jwkOf = (kid: string) => ({ ...publicKey.export({ format: "jwk" }), kid });
const setOf = (...kids: string[]) => JSON.stringify({ keys: kids.map(jwkOf) });
const OCT = { kty: "oct", k: Buffer.from("0".repeat(32)).toString("base64url"), kid: "secret" };

type Answer = () => Promise<Response>;
const answering =
  (body: string | null, init: ResponseInit = {}): Answer =>
  () =>
    Promise.resolve(new Response(body, init));
/** The connection is lost within the answer. */
const breakingOff: Answer = () =>
  Promise.resolve(
    new Response(
      new ReadableStream({ pull: (controller) => controller.error(new Error("connection lost")) }),
    ),
  );
const unreachable: Answer = () => Promise.reject(new TypeError("fetch failed"));

const fetch = vi.fn<typeof globalThis.fetch>();
const log = vi.fn<(...line: unknown[]) => void>();
let nowMs: number;
let source: KeySource;

beforeEach(() => {
  nowMs = 0;
  log.mockReset();
  fetch.mockReset().mockImplementation(answering(setOf("k1")));
  const clock = { epochMs: () => Number.NaN, monotonicMs: () => nowMs };
  source = createRemoteKeySource({ url: URL_OF_KEYS, fetch, clock, log: { log } });
});

const answer = (next: Answer) => void fetch.mockImplementation(next);

/** Result of resolving a key: `key`, or the error. */
const askFor = (kid: string | undefined, alg: string, signature: string): Promise<unknown> =>
  Promise.resolve(
    source.getKey(kid === undefined ? { alg } : { alg, kid }, { payload: "", signature }),
  ).then(
    () => "key",
    (error: unknown) => error,
  );

/** `key`, or the name of the error. Each key id has its own token. */
const ask = async (kid: string | undefined, alg = "ES256"): Promise<string> => {
  const outcome = await askFor(kid, alg, `signed-by-${kid}`);
  if (outcome === "key") return "key";
  return outcome instanceof Error ? outcome.name : "?";
};

/** Seconds until the key may be requested again; undefined if the error does not say. */
const askWait = async (kid: string, signature = `signed-by-${kid}`) => {
  const outcome = await askFor(kid, "ES256", signature);
  return outcome instanceof KeysUnavailable ? outcome.retryAfterSeconds : undefined;
};

const NO_KEY = new errors.JWKSNoMatchingKey().name;
const UNAVAILABLE = new KeysUnavailable().name;

describe("fetching", () => {
  test("happens once for many known key ids, from the configured URL, without following redirects", async () => {
    for (let index = 0; index < 100; index += 1) {
      expect(await ask("k1")).toBe("key");
      nowMs += 5 * SECOND;
    }
    expect(fetch).toHaveBeenCalledTimes(1);
    expect(fetch.mock.calls[0]?.[0]).toBe(URL_OF_KEYS);
    expect(fetch.mock.calls[0]?.[1]).toMatchObject({ redirect: "manual" });
    expect(fetch.mock.calls[0]?.[1]?.signal).toBeInstanceOf(AbortSignal);
    expect(log).not.toHaveBeenCalled();
  });

  test("sends no credentials and no token", async () => {
    await ask("k1");
    const sent = [...new Headers(fetch.mock.calls[0]?.[1]?.headers).keys()];
    expect(sent).toEqual(["accept", "user-agent"]);
  });

  test("is done once for all concurrent requests", async () => {
    const gate = Promise.withResolvers<Response>();
    answer(() => gate.promise);
    const asked = Promise.all(Array.from({ length: 100 }, () => ask("k1")));
    const usable = source.isUsable();
    gate.resolve(new Response(setOf("k1")));
    expect(new Set(await asked)).toEqual(new Set(["key"]));
    expect(await usable).toBe(true);
    expect(fetch).toHaveBeenCalledTimes(1);
  });

  test("by isUsable serves the first token as well", async () => {
    expect(await source.isUsable()).toBe(true);
    expect(await ask("k1")).toBe("key");
    expect(fetch).toHaveBeenCalledTimes(1);
  });
});

describe("unknown key ids", () => {
  test("a thousand in 30 seconds make at most one further fetch", async () => {
    await ask("k1");
    nowMs = REFRESH_PAUSE_MS;
    const before = fetch.mock.calls.length;
    const outcomes = [];
    for (let index = 0; index < 1_000; index += 1) {
      outcomes.push(await ask(`unknown-${index}`));
      expect(await ask("k1")).toBe("key");
      nowMs += 29;
    }
    expect(fetch.mock.calls.length - before).toBe(1);
    // The first token caused the fetch, so its key is wrong. The keys of the others may be newer.
    expect(outcomes[0]).toBe(NO_KEY);
    expect(new Set(outcomes.slice(1))).toEqual(new Set([UNAVAILABLE]));
  });

  test("in the pause are no wrong credentials: they are checked after it", async () => {
    await ask("k1");
    nowMs = 1;
    expect(await askWait("new")).toBe(30);
    nowMs = 10_000;
    expect(await askWait("new")).toBe(20);
    nowMs = 10_001;
    expect(await askWait("new")).toBe(20);
    nowMs = REFRESH_PAUSE_MS - 1;
    expect(await askWait("new")).toBe(1);
    answer(answering(setOf("k1", "new")));
    nowMs = REFRESH_PAUSE_MS;
    expect(await ask("new")).toBe("key");
  });

  test("are wrong once a fetch began after their token arrived, whichever token caused it", async () => {
    await ask("k1");
    nowMs = 20_000;
    expect(await ask("mine")).toBe(UNAVAILABLE);
    nowMs = REFRESH_PAUSE_MS;
    expect(await ask("another")).toBe(NO_KEY);
    nowMs += 1;
    expect(await ask("mine")).toBe(NO_KEY);
    expect(await ask("another")).toBe(NO_KEY);
    // A later token is not refused by these keys, although it names the same key.
    expect(await askWait("mine", "signed later")).toBe(30);
    expect(fetch).toHaveBeenCalledTimes(2);
  });

  test("stay unknown while the issuer cannot be reached", async () => {
    await ask("k1");
    answer(unreachable);
    for (nowMs = REFRESH_PAUSE_MS; nowMs < 300_000; nowMs += REFRESH_PAUSE_MS) {
      expect(await askWait("mine")).toBe(30);
    }
    answer(answering(setOf("k1")));
    expect(await ask("mine")).toBe(NO_KEY);
  });

  test("of the very first token are wrong: the fetch was for this token", async () => {
    expect(await ask("unknown")).toBe(NO_KEY);
    nowMs = 1_000;
    expect(await ask("unknown")).toBe(NO_KEY);
  });

  test("of tokens that arrive during a fetch may be new", async () => {
    await ask("k1");
    nowMs = REFRESH_PAUSE_MS;
    const gate = Promise.withResolvers<Response>();
    answer(() => gate.promise);
    const first = ask("first");
    await vi.waitFor(() => expect(fetch).toHaveBeenCalledTimes(2));
    nowMs += 100;
    const second = ask("second");
    gate.resolve(new Response(setOf("k1")));
    expect([await first, await second]).toEqual([NO_KEY, UNAVAILABLE]);
  });

  test("in a flood replace only each other, and then count as new", async () => {
    await ask("k1");
    nowMs = 1;
    expect(await ask("mine")).toBe(UNAVAILABLE);
    for (let index = 0; index < 2_000; index += 1) await ask(`unknown-${index}`);
    nowMs = REFRESH_PAUSE_MS;
    await ask("unknown");
    nowMs += 1;
    expect(await ask("mine")).toBe(UNAVAILABLE);
    expect(await ask("unknown-1999")).toBe(NO_KEY);
    expect(await ask("k1")).toBe("key");
    expect(fetch).toHaveBeenCalledTimes(2);
  });

  test("a known key under another algorithm is wrong at once", async () => {
    await ask("k1");
    nowMs = 1;
    expect(await ask("k1", "RS256")).toBe(NO_KEY);
  });

  test("a thousand right after the first fetch make none", async () => {
    await ask("k1");
    for (let index = 0; index < 1_000; index += 1) {
      await ask(`unknown-${index}`);
      nowMs += 29;
    }
    expect(nowMs).toBeLessThan(REFRESH_PAUSE_MS);
    expect(fetch).toHaveBeenCalledTimes(1);
  });

  test("a thousand at the same time make one", async () => {
    await ask("k1");
    nowMs = REFRESH_PAUSE_MS;
    await Promise.all(Array.from({ length: 1_000 }, (_, index) => ask(`unknown-${index}`)));
    expect(fetch).toHaveBeenCalledTimes(2);
  });

  test("have the same pause after a failure as after a success", async () => {
    await ask("k1");
    for (const next of [answering(setOf("k1")), unreachable, answering("", { status: 500 })]) {
      answer(next);
      nowMs += REFRESH_PAUSE_MS;
      const before = fetch.mock.calls.length;
      await ask("unknown");
      expect(fetch.mock.calls.length - before).toBe(1);
      nowMs += REFRESH_PAUSE_MS - 1;
      await ask("unknown");
      expect(fetch.mock.calls.length - before).toBe(1);
      nowMs += 1;
    }
  });

  test("of a new key are found at once after the pause", async () => {
    await ask("k1");
    answer(answering(setOf("k1", "k2")));
    nowMs = 1;
    expect(await ask("k2")).toBe(UNAVAILABLE);
    nowMs = REFRESH_PAUSE_MS;
    expect(await ask("k2")).toBe("key");
    expect(await ask("k1")).toBe("key");
  });

  test("include algorithms that no key is for: they do not cause a fetch each time", async () => {
    await ask("k1");
    nowMs = REFRESH_PAUSE_MS;
    for (let index = 0; index < 50; index += 1) expect(await ask("k1", "RS256")).toBe(NO_KEY);
    expect(fetch).toHaveBeenCalledTimes(2);
  });
});

describe("in an outage", () => {
  test("the last good keys are kept, for days if need be", async () => {
    await ask("k1");
    answer(unreachable);
    for (nowMs = SECOND; nowMs < 2 * DAY; nowMs += 300 * SECOND) {
      expect(await ask("k1")).toBe("key");
      expect(await ask("unknown")).toBe(UNAVAILABLE);
      expect(await source.isUsable()).toBe(true);
    }
    expect(fetch.mock.calls.length).toBeGreaterThan(100);
  });

  test("requests do not wait for a fetch after one has failed, except for unknown key ids", async () => {
    await ask("k1");
    answer(unreachable);
    nowMs += KEYS_AGE_MAX_MS + 1;
    await ask("k1");
    const gate = Promise.withResolvers<Response>();
    answer(() => gate.promise);
    nowMs += REFRESH_PAUSE_MS;
    // This would not resolve if it waited.
    expect(await ask("k1")).toBe("key");
    expect(fetch).toHaveBeenCalledTimes(3);
    const unknown = ask("k2");
    gate.resolve(new Response(setOf("k2")));
    expect(await unknown).toBe("key");
  });

  test("its end is detected, and the new keys are used", async () => {
    await ask("k1");
    answer(unreachable);
    nowMs += KEYS_AGE_MAX_MS + 1;
    await ask("k1");
    answer(answering(setOf("k2")));
    nowMs += REFRESH_PAUSE_MS;
    await ask("k1");
    expect(await ask("k2")).toBe("key");
    expect(await ask("k1")).toBe(NO_KEY);
  });

  test("each failure is one line at error level that names no key, host or answer", async () => {
    await ask("k1");
    answer(answering("internal-data", { status: 500 }));
    nowMs = REFRESH_PAUSE_MS;
    await Promise.all([ask("unknown"), ask("unknown")]);
    expect(log).toHaveBeenCalledExactlyOnceWith("error", expect.any(String), { keptKeys: true });
    expect(JSON.stringify(log.mock.calls)).not.toMatch(/issuer\.example|internal-data|k1/);
  });
});

describe("while no keys were ever fetched", () => {
  beforeEach(() => {
    answer(unreachable);
  });

  test("tokens give `unavailable`, not a wrong key", async () => {
    expect(await ask("k1")).toBe(UNAVAILABLE);
    expect(await ask(undefined)).toBe(UNAVAILABLE);
    expect(await source.isUsable()).toBe(false);
    expect(log.mock.calls[0]).toEqual(["error", expect.any(String), { keptKeys: false }]);
  });

  test("a fetch is tried once a second, for any number of requests", async () => {
    for (; nowMs < 10 * SECOND; nowMs += 10) {
      await ask("k1");
      await source.isUsable();
    }
    expect(fetch).toHaveBeenCalledTimes(10);
  });

  test("recovery shows within a second", async () => {
    await ask("k1");
    answer(answering(setOf("k1")));
    nowMs = SECOND - 1;
    expect(await ask("k1")).toBe(UNAVAILABLE);
    nowMs = SECOND;
    expect(await ask("k1")).toBe("key");
    expect(await source.isUsable()).toBe(true);
  });
});

describe("a withdrawn key", () => {
  test("stops working after ten minutes", async () => {
    await ask("k1");
    answer(answering(setOf("k2")));
    nowMs = KEYS_AGE_MAX_MS;
    expect(await ask("k1")).toBe("key");
    nowMs += 1;
    expect(await ask("k1")).toBe(NO_KEY);
    expect(await ask("k2")).toBe("key");
    expect(KEYS_AGE_MAX_MS).toBe(600_000);
  });

  test("stops working at once when another token's unknown id causes a fetch", async () => {
    await ask("k1");
    answer(answering(setOf("k2")));
    nowMs = REFRESH_PAUSE_MS;
    await ask("k2");
    expect(await ask("k1")).toBe(NO_KEY);
  });

  test("does not cause a fetch each time: the new set is used for ten minutes", async () => {
    await ask("k1");
    nowMs = KEYS_AGE_MAX_MS + 1;
    for (let index = 0; index < 100; index += 1) await ask("k1");
    nowMs += KEYS_AGE_MAX_MS;
    await ask("k1");
    expect(fetch).toHaveBeenCalledTimes(2);
  });
});

describe("keys that are no public keys", () => {
  const mixed = JSON.stringify({ keys: [OCT, jwkOf("k1"), { kty: "unknown", kid: "x" }] });

  test("are unusable, and the others of their set are not", async () => {
    answer(answering(mixed));
    expect(await ask("k1")).toBe("key");
    for (const alg of ["HS256", "HS384", "HS512"]) {
      expect(await ask("secret", alg)).not.toBe("key");
      expect(await ask(undefined, alg)).not.toBe("key");
      expect(await ask("k1", alg)).not.toBe("key");
    }
    expect(await ask("secret")).toBe(NO_KEY);
    expect(source.algorithms.filter((alg) => alg.startsWith("HS"))).toEqual([]);
  });
});

describe("a set of one key without an id", () => {
  test("verifies a token that names one, and none of another algorithm", async () => {
    const { kid: _none, ...key } = jwkOf("k1");
    answer(answering(JSON.stringify({ keys: [key] })));
    expect(await ask("any")).toBe("key");
    expect(await ask(undefined)).toBe("key");
    expect(await ask("any", "RS256")).toBe(NO_KEY);
    expect(fetch).toHaveBeenCalledTimes(1);
  });

  test.each([[null], [""], [[]]])("holds where its optional members are %j", async (empty) => {
    const key = { ...jwkOf("k1"), kid: null, use: empty, alg: empty, key_ops: empty, ext: null };
    answer(answering(JSON.stringify({ keys: [key, { ...OCT, use: empty }] })));
    expect(await ask("any")).toBe("key");
  });
});

describe("a failure is", () => {
  const bytes = (size: number) => `{"keys":[${JSON.stringify(jwkOf("k1"))}]}${" ".repeat(size)}`;
  const location = { Location: "https://attacker.example/jwks.json" };
  const deep = "[".repeat(100_000) + "]".repeat(100_000);

  const failures: [string, Answer][] = [
    ["no connection", unreachable],
    ["a redirect", answering(setOf("k1"), { status: 302, headers: location })],
    ["a permanent redirect", answering(setOf("k1"), { status: 308, headers: location })],
    ["status 201", answering(setOf("k1"), { status: 201 })],
    ["status 204", answering(null, { status: 204 })],
    ["status 304", answering(null, { status: 304 })],
    ["status 404 with keys", answering(setOf("k1"), { status: 404 })],
    ["status 500 with keys", answering(setOf("k1"), { status: 500 })],
    ["a set over 256 KiB", answering(bytes(262_144))],
    ["no body", answering(null)],
    ["an empty body", answering("")],
    ["a page", answering("<html>Sign in</html>")],
    ["unfinished JSON", answering(setOf("k1").slice(0, -2))],
    ["null", answering("null")],
    ["a list", answering(`[${JSON.stringify(jwkOf("k1"))}]`)],
    ["a key that is no set", answering(JSON.stringify(jwkOf("k1")))],
    ["no key", answering('{"keys":[]}')],
    ["symmetric keys alone", answering(JSON.stringify({ keys: [OCT] }))],
    ["a body that breaks off", breakingOff],
    ["a key that is nested beyond reason", answering(`{"keys":[{"kty":"EC","x":${deep}}]}`)],
  ];

  test.each(failures)("%s: there are no keys, which is logged", async (_what, failure) => {
    answer(failure);
    expect(await ask("k1")).toBe(UNAVAILABLE);
    nowMs += SECOND;
    expect(await source.isUsable()).toBe(false);
    expect(fetch).toHaveBeenCalledTimes(2);
    expect(log).toHaveBeenCalledTimes(2);
  });

  test.each(failures)("%s: keys at hand are kept", async (_what, failure) => {
    await ask("k1");
    answer(failure);
    nowMs += REFRESH_PAUSE_MS;
    expect(await ask("unknown")).toBe(UNAVAILABLE);
    expect(await ask("k1")).toBe("key");
    nowMs += KEYS_AGE_MAX_MS;
    expect(await ask("k1")).toBe("key");
    expect(await source.isUsable()).toBe(true);
  });

  test("not a set of just under 256 KiB", async () => {
    answer(answering(bytes(262_144 - bytes(0).length)));
    expect(await ask("k1")).toBe("key");
  });
});

describe("an issuer that hangs", () => {
  beforeEach(() => {
    vi.useFakeTimers();
    // The test cannot move AbortSignal's own timer, so it replaces it.
    vi.spyOn(AbortSignal, "timeout").mockImplementation((ms) => {
      const controller = new AbortController();
      setTimeout(() => controller.abort(), ms);
      return controller.signal;
    });
    return () => vi.useRealTimers();
  });

  const hanging: [string, typeof globalThis.fetch][] = [
    [
      "before its answer",
      (_url, init) =>
        new Promise((_resolve, reject) => {
          init?.signal?.addEventListener("abort", () => reject(new Error("aborted")));
        }),
    ],
    [
      "within its answer",
      () => Promise.resolve(new Response(new ReadableStream({ pull: () => new Promise(() => 0) }))),
    ],
    [
      "dribbling its answer",
      () => {
        let timer: ReturnType<typeof setInterval> | undefined;
        const stream = new ReadableStream({
          start(controller) {
            timer = setInterval(() => controller.enqueue(new TextEncoder().encode(" ")), 100);
          },
          cancel: () => clearInterval(timer),
        });
        return Promise.resolve(new Response(stream));
      },
    ],
  ];

  test.each(hanging)("%s is aborted after five seconds", async (_what, hang) => {
    fetch.mockImplementation(hang);
    const settled = vi.fn<(outcome: string) => void>();
    const asked = ask("k1").then(settled);
    await vi.advanceTimersByTimeAsync(5 * SECOND - 1);
    expect(settled).not.toHaveBeenCalled();
    await vi.advanceTimersByTimeAsync(1);
    await asked;
    expect(settled).toHaveBeenCalledExactlyOnceWith(UNAVAILABLE);
  });

  test.each(hanging)("%s does not keep known keys from working afterwards", async (_what, hang) => {
    await ask("k1");
    fetch.mockImplementation(hang);
    nowMs += KEYS_AGE_MAX_MS + 1;
    const waiting = ask("k1");
    await vi.advanceTimersByTimeAsync(5 * SECOND);
    expect(await waiting).toBe("key");
    // The issuer is known to fail from here on, so requests do not wait.
    nowMs += REFRESH_PAUSE_MS;
    expect(await ask("k1")).toBe("key");
  });
});

describe("if a fetch belongs to the request that began it (Workers)", () => {
  const background = vi.fn<(work: Promise<void>) => void>();

  beforeEach(() => {
    background.mockReset();
    const clock = { epochMs: () => Number.NaN, monotonicMs: () => nowMs };
    source = createRemoteKeySource({ url: URL_OF_KEYS, fetch, clock, log: { log }, background });
  });

  test("other requests get its keys, not its promise, and it continues after its own answer", async () => {
    const gate = Promise.withResolvers<Response>();
    answer(() => gate.promise);
    const asked = Promise.all(Array.from({ length: 100 }, () => ask("k1")));
    await vi.waitFor(() => expect(background).toHaveBeenCalledTimes(1));
    gate.resolve(new Response(setOf("k1")));
    expect(new Set(await asked)).toEqual(new Set(["key"]));
    expect(fetch).toHaveBeenCalledTimes(1);
  });

  test("a fetch that was cancelled with its request does not prevent a new one", async () => {
    vi.useFakeTimers();
    try {
      answer(() => new Promise(() => undefined));
      void ask("k1");
      const waiting = ask("k1");
      await vi.advanceTimersByTimeAsync(11_100);
      expect(await waiting).toBe(UNAVAILABLE);
      nowMs = 11_100;
      answer(answering(setOf("k1")));
      expect(await ask("k1")).toBe("key");
      expect(fetch).toHaveBeenCalledTimes(2);
    } finally {
      vi.useRealTimers();
    }
  });
});
