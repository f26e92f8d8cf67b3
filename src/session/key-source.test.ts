import { generateKeyPairSync, type KeyObject } from "node:crypto";

import { jwtVerify, SignJWT } from "jose";
import { describe, expect, test } from "vitest";

import {
  createPublicKeySource,
  createSecretKeySource,
  type KeySource,
  PUBLIC_KEY_ALGORITHMS,
  parseFetchedJwks,
} from "./key-source.ts";

const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 });
const p256 = generateKeyPairSync("ec", { namedCurve: "P-256" });
const p384 = generateKeyPairSync("ec", { namedCurve: "P-384" });
const p521 = generateKeyPairSync("ec", { namedCurve: "P-521" });
const ed25519 = generateKeyPairSync("ed25519");
const x25519 = generateKeyPairSync("x25519");

const spki = (key: KeyObject) => key.export({ type: "spki", format: "pem" }).toString();
const pkcs8 = (key: KeyObject) => key.export({ type: "pkcs8", format: "pem" }).toString();
const jwkOf = (key: KeyObject, more: object = {}) => ({
  ...key.export({ format: "jwk" }),
  ...more,
});
const jwkText = (key: KeyObject, more: object = {}) => JSON.stringify(jwkOf(key, more));
const OCT = { kty: "oct", k: Buffer.from("0".repeat(32)).toString("base64url"), kid: "s" };

/** Tells whether the source verifies a token with this header, signed with this key. */
async function verifies(
  source: KeySource | undefined,
  key: KeyObject | Uint8Array,
  header: { alg: string; kid?: string },
): Promise<boolean> {
  if (source === undefined) throw new Error("no source");
  const token = await new SignJWT({ sub: "alice" }).setProtectedHeader(header).sign(key);
  return jwtVerify(token, source.getKey, { algorithms: [...source.algorithms] }).then(
    () => true,
    () => false,
  );
}

describe("a shared secret", () => {
  const SECRET = "0123456789abcdef0123456789é";
  const bytes = new TextEncoder().encode(SECRET);

  test("verifies HS256 of its UTF-8 bytes, and nothing else", async () => {
    const source = await createSecretKeySource(SECRET);
    expect(source.algorithms).toEqual(["HS256"]);
    expect(await verifies(source, bytes, { alg: "HS256" })).toBe(true);
    expect(await verifies(source, bytes, { alg: "HS256", kid: "any" })).toBe(true);
    expect(await verifies(source, bytes, { alg: "HS512" })).toBe(false);
    expect(await verifies(source, rsa.privateKey, { alg: "RS256" })).toBe(false);
    expect(await verifies(source, bytes.slice(1), { alg: "HS256" })).toBe(false);
  });

  test("is usable at once, and cannot be exported", async () => {
    const source = await createSecretKeySource(SECRET);
    expect(await source.isUsable()).toBe(true);
    const key: unknown = await source.getKey({ alg: "HS256" }, { payload: "", signature: "" });
    expect(key).toMatchObject({ extractable: false, usages: ["verify"] });
  });
});

test("no algorithm of public keys is symmetric, or none", () => {
  expect(PUBLIC_KEY_ALGORITHMS.filter((name) => !/^(?:[RPE]S\d{3}|Ed\w+)$/.test(name))).toEqual([]);
});

describe("a public key", () => {
  const kinds: [string, typeof rsa, string][] = [
    ["RSA", rsa, "RS256"],
    ["RSA with PSS", rsa, "PS256"],
    ["P-256", p256, "ES256"],
    ["P-384", p384, "ES384"],
    ["P-521", p521, "ES512"],
    ["Ed25519", ed25519, "EdDSA"],
  ];

  test.each(kinds)("%s is read from PEM, JWK and JWKS", async (_kind, pair, alg) => {
    const pem = spki(pair.publicKey);
    const texts = [
      pem,
      pem.trim(),
      `\n  ${pem}`,
      pem.replaceAll("\n", "\r\n"),
      // Written as one line, as in an .env file.
      pem.replaceAll("\n", String.raw`\n`),
      jwkText(pair.publicKey),
      `\n ${jwkText(pair.publicKey)}`,
      JSON.stringify({ keys: [jwkOf(pair.publicKey)] }),
    ];
    for (const text of texts) {
      const source = await createPublicKeySource(text);
      expect(source?.algorithms).toBe(PUBLIC_KEY_ALGORITHMS);
      expect(await source?.isUsable()).toBe(true);
      expect(await verifies(source, pair.privateKey, { alg })).toBe(true);
      expect(await verifies(source, Buffer.from(text), { alg: "HS256" })).toBe(false);
    }
  });

  test.each(kinds)("%s verifies no other key's token", async (_kind, { publicKey }) => {
    const source = await createPublicKeySource(spki(publicKey));
    const foreign = generateKeyPairSync("rsa", { modulusLength: 2048 });
    expect(await verifies(source, foreign.privateKey, { alg: "RS256" })).toBe(false);
  });

  // Most issuers put a key id on each token. A configured key without an id is for all of them.
  test.each([
    ["PEM", spki(rsa.publicKey)],
    ["JWK", jwkText(rsa.publicKey)],
  ])("a %s without a key id verifies tokens that have one", async (_form, text) => {
    const source = await createPublicKeySource(text);
    expect(await verifies(source, rsa.privateKey, { alg: "RS256", kid: "2026-04" })).toBe(true);
  });

  test("a key with a key id verifies tokens of that id alone", async () => {
    const source = await createPublicKeySource(jwkText(rsa.publicKey, { kid: "k1" }));
    expect(await verifies(source, rsa.privateKey, { alg: "RS256", kid: "k1" })).toBe(true);
    expect(await verifies(source, rsa.privateKey, { alg: "RS256", kid: "k2" })).toBe(false);
  });

  test("of a set is selected by the token's key id", async () => {
    const keys = [jwkOf(rsa.publicKey, { kid: "r" }), jwkOf(p256.publicKey, { kid: "e" })];
    const source = await createPublicKeySource(JSON.stringify({ keys }));
    expect(await verifies(source, rsa.privateKey, { alg: "RS256", kid: "r" })).toBe(true);
    expect(await verifies(source, p256.privateKey, { alg: "ES256", kid: "e" })).toBe(true);
    expect(await verifies(source, p256.privateKey, { alg: "ES256", kid: "r" })).toBe(false);
  });

  test("with an `alg` member is used with that algorithm only", async () => {
    const source = await createPublicKeySource(jwkText(rsa.publicKey, { alg: "RS512" }));
    expect(await verifies(source, rsa.privateKey, { alg: "RS512" })).toBe(true);
    expect(await verifies(source, rsa.privateKey, { alg: "RS256" })).toBe(false);
  });
});

describe("not accepted as a public key:", () => {
  test.each([
    ["nothing", ""],
    ["any text", "secret"],
    ["a broken PEM", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"],
    ["a PEM without its end", spki(rsa.publicKey).slice(0, 200)],
    ["a certificate", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"],
    ["a private key", pkcs8(rsa.privateKey)],
    ["a private EC key", pkcs8(p256.privateKey)],
    ["a private JWK", jwkText(rsa.privateKey)],
    ["a private EC JWK", jwkText(p256.privateKey)],
    ["a symmetric JWK", JSON.stringify(OCT)],
    ["a set of nothing", '{"keys":[]}'],
    ["a set of a symmetric key", JSON.stringify({ keys: [OCT] })],
    ["a set with a symmetric key in it", JSON.stringify({ keys: [jwkOf(rsa.publicKey), OCT] })],
    ["a set with a private key in it", JSON.stringify({ keys: [jwkOf(rsa.privateKey)] })],
    ["unfinished JSON", '{"kty":"RSA"'],
    ["a JWK without a type", '{"n":"AQAB","e":"AQAB"}'],
    ["a JWK of an unknown type", '{"kty":"XYZ"}'],
    ["a list", JSON.stringify([jwkOf(rsa.publicKey)])],
    ["a key that cannot sign", spki(x25519.publicKey)],
  ])("%s", async (_what, text) => {
    expect(await createPublicKeySource(text)).toBeUndefined();
  });

  // Accepted at start, each of these would refuse every session later.
  test.each([
    ["a JWK without its numbers", '{"kty":"RSA"}'],
    ["a JWK with broken numbers", '{"kty":"RSA","n":"!","e":"AQAB"}'],
    ["half of an EC JWK", JSON.stringify({ ...jwkOf(p256.publicKey), y: undefined })],
    ["a JWK for encryption", jwkText(rsa.publicKey, { use: "enc" })],
    ["a JWK that cannot sign", jwkText(x25519.publicKey)],
    [
      "an RSA key under 2048 bits",
      spki(generateKeyPairSync("rsa", { modulusLength: 1024 }).publicKey),
    ],
  ])("a key that no token can be verified with: %s", async (_what, text) => {
    expect(await createPublicKeySource(text)).toBeUndefined();
  });
});

describe("a fetched set", () => {
  const good = jwkOf(p256.publicKey, { kid: "e" });

  test("keeps its public keys and ignores the rest", async () => {
    const others = [OCT, jwkOf(rsa.privateKey), { kty: "AKP" }, {}, null, "key", 42, [good]];
    expect(await parseFetchedJwks({ keys: [...others, good], extra: 1 })).toEqual({ keys: [good] });
  });

  test.each([
    undefined,
    null,
    [],
    "keys",
    {},
    { keys: {} },
    { keys: null },
    { keys: [] },
    { keys: [OCT] },
    { keys: [null] },
  ])("without a usable key is a failure: %j", async (json) => {
    expect(await parseFetchedJwks(json)).toBeUndefined();
  });
});

test.each([[null], [""], [[]]])(
  "members that are %j count as absent, in the configuration too",
  async (empty) => {
    const more = { kid: empty, use: empty, alg: empty, key_ops: empty, ext: null, x5c: empty };
    const source = await createPublicKeySource(jwkText(p256.publicKey, more));
    expect(await verifies(source, p256.privateKey, { alg: "ES256", kid: "any" })).toBe(true);
    expect(await createPublicKeySource(jwkText(p256.publicKey, { use: "enc" }))).toBeUndefined();
  },
);
