import { generateKeyPairSync, type KeyObject } from "node:crypto";

import { createLocalJWKSet, errors, SignJWT } from "jose";
import { describe, expect, test } from "vitest";

import { createSecretKeySource, type KeySource, KeysUnavailable } from "./key-source.ts";
import { CLOCK_TOLERANCE_SECONDS, verifyToken } from "./verify-token.ts";

const NOW = 1_800_000_000;
const SECRET = "0123456789abcdef0123456789abcdef";

const rulesAt = (keys: KeySource, epochMs = NOW * 1_000) => ({
  keys,
  issuer: "issuer",
  audience: "audience",
  clock: { epochMs: () => epochMs, monotonicMs: () => 0 },
});

function signToken(claims: object, key: KeyObject | Uint8Array, alg: string): Promise<string> {
  return new SignJWT({ iss: "issuer", aud: "audience", sub: "alice", exp: NOW + 60, ...claims })
    .setProtectedHeader({ alg })
    .sign(key);
}

const createKeyPair = () => generateKeyPairSync("rsa", { modulusLength: 2048 });

const sign = (claims: object) => signToken(claims, new TextEncoder().encode(SECRET), "HS256");
const secretKeys = await createSecretKeySource(SECRET);
const EXPIRED = { kind: "refused", code: "session_expired" };
const INVALID = { kind: "refused", code: "session_invalid" };

test("a right token gives all its claims", async () => {
  const token = await sign({ workspace: "acme", "https://claims.example/x": [1] });
  expect(await verifyToken(token, rulesAt(secretKeys))).toEqual({
    kind: "verified",
    claims: {
      iss: "issuer",
      aud: "audience",
      sub: "alice",
      exp: NOW + 60,
      workspace: "acme",
      "https://claims.example/x": [1],
    },
  });
});

describe("the tolerance for clocks that differ", () => {
  const second = 1_000;

  test("is 30 seconds", () => {
    expect(CLOCK_TOLERANCE_SECONDS).toBe(30);
  });

  test.each([
    [-1, "verified"],
    [29 * second, "verified"],
    [30 * second - 1, "verified"],
    [30 * second, "session_expired"],
    [30 * second + 1, "session_expired"],
  ])("%i ms after exp a token is %s", async (lateMs, outcome) => {
    const token = await sign({ exp: NOW });
    const verdict = await verifyToken(token, rulesAt(secretKeys, NOW * 1_000 + lateMs));
    expect(verdict.kind === "refused" ? verdict.code : verdict.kind).toBe(outcome);
  });

  test.each(["nbf", "iat"])("%s may be as much ahead and no more", async (claim) => {
    const token = await sign({ [claim]: NOW });
    const early = (ms: number) => verifyToken(token, rulesAt(secretKeys, NOW * 1_000 - ms));
    expect((await early(30 * second)).kind).toBe("verified");
    expect(await early(30 * second + 1)).toEqual(INVALID);
    expect(await early(31 * second)).toEqual(INVALID);
  });
});

/** Keys whose look-up ends in this error. */
const failing = (error: Error): KeySource => ({
  ...secretKeys,
  getKey: () => {
    throw error;
  },
});

test("an algorithm that the keys are not for is refused, even where the key would fit", async () => {
  const { publicKey, privateKey } = createKeyPair();
  const getKey = createLocalJWKSet({ keys: [publicKey.export({ format: "jwk" })] });
  const rules = rulesAt({ ...secretKeys, algorithms: ["RS256"], getKey });
  const verdictOn = async (alg: string) =>
    (await verifyToken(await signToken({}, privateKey, alg), rules)).kind;
  expect(await verdictOn("RS256")).toBe("verified");
  for (const alg of ["RS384", "RS512", "PS256"]) expect(await verdictOn(alg)).toBe("refused");
});

describe("when the keys fail", () => {
  test("keys that cannot be fetched give `unavailable`, not a wrong session", async () => {
    const verdict = await verifyToken(await sign({}), rulesAt(failing(new KeysUnavailable(7))));
    expect(verdict).toEqual({ kind: "unavailable", retryAfterSeconds: 7 });
  });

  test("a key that is not in the set is a wrong session", async () => {
    const error = new errors.JWKSNoMatchingKey();
    expect(await verifyToken(await sign({}), rulesAt(failing(error)))).toEqual(INVALID);
  });
});

describe("several keys that fit a token without a key id, as during a rotation", () => {
  const [old, fresh, foreign] = [createKeyPair(), createKeyPair(), createKeyPair()];
  const keys: KeySource = {
    algorithms: ["RS256"],
    getKey: createLocalJWKSet({
      keys: [old, fresh].map(({ publicKey }) => publicKey.export({ format: "jwk" })),
    }),
    isUsable: () => Promise.resolve(true),
  };
  const verdictOn = async (key: KeyObject, claims: object = {}) =>
    verifyToken(await signToken(claims, key, "RS256"), rulesAt(keys));

  test("each is tried", async () => {
    expect((await verdictOn(old.privateKey)).kind).toBe("verified");
    expect((await verdictOn(fresh.privateKey)).kind).toBe("verified");
  });

  test("no other key is accepted, nor is a wrong claim under any of them", async () => {
    expect(await verdictOn(foreign.privateKey)).toEqual(INVALID);
    expect(await verdictOn(fresh.privateKey, { aud: "other" })).toEqual(INVALID);
    expect(await verdictOn(fresh.privateKey, { sub: "" })).toEqual(INVALID);
  });

  test("an expired token is session_expired under each key of the set, but not under another key", async () => {
    expect(await verdictOn(old.privateKey, { exp: NOW - 60 })).toEqual(EXPIRED);
    expect(await verdictOn(fresh.privateKey, { exp: NOW - 60 })).toEqual(EXPIRED);
    expect(await verdictOn(foreign.privateKey, { exp: NOW - 60 })).toEqual(INVALID);
  });
});
