// Every way to forge, stretch or bend a session token that is known, tried in full against every
// kind of key. The tokens are data (test/data/jwt-attacks.json) and are signed here with plain
// cryptography, not with the library that verifies them.
import {
  constants,
  createHmac,
  createPublicKey,
  createSecretKey,
  generateKeyPairSync,
  type KeyObject,
  sign,
} from "node:crypto";
import { readFileSync } from "node:fs";

import { CompactEncrypt } from "jose";
import { beforeEach, describe, expect, test, vi } from "vitest";
import { z } from "zod";

import { createHashing } from "../platform/system.ts";
import { parseConfig } from "../config/config.ts";
import { type Authenticator, createAuthenticator } from "./authenticate.ts";
import { createPublicKeySource, createSecretKeySource, type KeySource } from "./key-source.ts";
import { createRemoteKeySource } from "./remote-keys.ts";

const members = z.record(z.string(), z.unknown());

const making = z.strictObject({
  name: z.string(),
  sources: z.array(z.enum(["secret", "pem", "jwks"])).default(["secret", "pem", "jwks"]),
  header: members.default({}),
  withoutHeader: z.array(z.string()).default([]),
  headerText: z.string().optional(),
  claims: members.default({}),
  without: z.array(z.string()).default([]),
  claimsText: z.string().optional(),
  claimsHex: z.string().optional(),
  fillerChars: z.int().optional(),
  sign: z.enum(["own", "attacker", "hmac", "zeros", "empty"]).default("own"),
  signAlg: z.string().optional(),
  hmacKey: z
    .enum(["pem", "pem-trimmed", "der", "jwk", "jwks", "modulus", "empty", "kid"])
    .optional(),
  afterSigning: z
    .strictObject({ header: members.default({}), claims: members.default({}) })
    .optional(),
  shape: z.string().default("{h}.{p}.{s}"),
  encrypt: z.boolean().default(false),
});
type Making = z.output<typeof making>;

const data = z
  .strictObject({
    about: z.string(),
    now: z.int(),
    accepted: z.array(making.extend({ subject: z.string().default("alice") })),
    attacks: z.array(making.extend({ code: z.enum(["session_invalid", "session_expired"]) })),
  })
  .parse(
    JSON.parse(readFileSync(new URL("../../test/data/jwt-attacks.json", import.meta.url), "utf8")),
  );

const ISSUER = "https://issuer.example/";
const AUDIENCE = "uponai-bff";
const JWKS_URL = "https://issuer.example/jwks.json";
const SECRET = "0123456789abcdef0123456789abcdef";
const CLAIMS = {
  iss: ISSUER,
  aud: AUDIENCE,
  sub: "alice",
  exp: data.now + 300,
  nbf: data.now - 100,
  iat: data.now - 100,
  workspace: "acme",
};

const fetch = vi.fn<typeof globalThis.fetch>();

/** One way to configure keys, with the keys of a valid token and of an attacker. */
interface Source {
  readonly alg: string;
  readonly signKey: KeyObject;
  readonly attackerKey: KeyObject;
  /** The key of the verifier: the public key, or the secret. */
  readonly verifyKey: KeyObject;
  readonly kid?: string;
  readonly createKeys: () => Promise<KeySource | undefined>;
}

const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 });
const ec = generateKeyPairSync("ec", { namedCurve: "P-256" });
const secretKey = createSecretKey(SECRET, "utf8");
const clock = { epochMs: () => data.now * 1_000, monotonicMs: () => 0 };
const pemOf = (key: KeyObject) => key.export({ type: "spki", format: "pem" }).toString();
const jwks = JSON.stringify({ keys: [{ ...ec.publicKey.export({ format: "jwk" }), kid: "k1" }] });

const sources: Record<"secret" | "pem" | "jwks", Source> = {
  secret: {
    alg: "HS256",
    signKey: secretKey,
    attackerKey: createSecretKey("f".repeat(32), "utf8"),
    verifyKey: secretKey,
    createKeys: () => createSecretKeySource(SECRET),
  },
  pem: {
    alg: "RS256",
    signKey: rsa.privateKey,
    attackerKey: generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey,
    verifyKey: rsa.publicKey,
    createKeys: () => createPublicKeySource(pemOf(rsa.publicKey)),
  },
  jwks: {
    alg: "ES256",
    signKey: ec.privateKey,
    attackerKey: generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey,
    verifyKey: ec.publicKey,
    kid: "k1",
    createKeys: () =>
      Promise.resolve(
        createRemoteKeySource({ url: JWKS_URL, fetch, clock, log: { log: () => undefined } }),
      ),
  },
};

function publicPart(key: KeyObject): KeyObject {
  return key.type === "private" ? createPublicKey(key) : key;
}

/** A public key as text, in one of its common forms. */
function readKeyMaterial(form: Making["hmacKey"], key: KeyObject): Buffer {
  const jwk = key.export({ format: "jwk" });
  const forms = {
    pem: () => pemOf(key),
    "pem-trimmed": () => pemOf(key).trim(),
    der: () => key.export({ type: "spki", format: "der" }),
    jwk: () => JSON.stringify(jwk),
    jwks: () => JSON.stringify({ keys: [jwk] }),
    modulus: () => Buffer.from(jwk.n ?? jwk.x ?? "", "base64url"),
    empty: () => "",
    kid: () => "k1",
  };
  return Buffer.from(forms[form ?? "empty"]());
}

/** Signs with `alg`, if the key supports it. */
function signAs(alg: string, key: KeyObject, input: string): Buffer {
  const hash = `sha${alg.slice(2, 5)}`;
  const bytes = Buffer.from(input);
  if (alg.startsWith("HS")) return createHmac(hash, key).update(bytes).digest();
  if (alg === "ES256-DER") return sign("sha256", bytes, key);
  if (alg.startsWith("ES")) return sign(hash, bytes, { key, dsaEncoding: "ieee-p1363" });
  const padding = constants.RSA_PKCS1_PSS_PADDING;
  const saltLength = constants.RSA_PSS_SALTLEN_DIGEST;
  if (alg.startsWith("PS")) return sign(hash, bytes, { key, padding, saltLength });
  return sign(hash, bytes, key);
}

function createSignature(made: Making, source: Source, input: string): string {
  const right = signAs(source.alg, source.signKey, input);
  switch (made.sign) {
    case "own":
      return signAs(made.signAlg ?? source.alg, source.signKey, input).toString("base64url");
    case "attacker":
      return signAs(source.alg, source.attackerKey, input).toString("base64url");
    case "hmac": {
      const alg = String(made.header["alg"]);
      const key = createSecretKey(readKeyMaterial(made.hmacKey, source.verifyKey));
      return signAs(alg, key, input).toString("base64url");
    }
    case "zeros":
      return right.fill(0).toString("base64url");
    case "empty":
      return "";
  }
}

const without = (all: Readonly<Record<string, unknown>>, names: readonly string[]) =>
  Object.fromEntries(Object.entries(all).filter(([name]) => !names.includes(name)));

function buildHeader(made: Making, source: Source, more: object = {}): string {
  const kid = source.kid === undefined ? {} : { kid: source.kid };
  const all = { alg: source.alg, typ: "JWT", ...kid };
  const header = { ...without(all, made.withoutHeader), ...made.header, ...more };
  const attacker = publicPart(source.attackerKey);
  const der = attacker.type === "public" ? attacker.export({ type: "spki", format: "der" }) : "";
  return (made.headerText ?? JSON.stringify(header))
    .replaceAll("{alg}", source.alg)
    .replaceAll('"{attackerJwk}"', JSON.stringify(attacker.export({ format: "jwk" })))
    .replaceAll("{attackerDer}", der.toString("base64"));
}

function buildClaims(made: Making, more: object = {}): Buffer {
  if (made.claimsHex !== undefined) return Buffer.from(made.claimsHex, "hex");
  const filler = made.fillerChars === undefined ? {} : { filler: "x".repeat(made.fillerChars) };
  const claims = { ...without(CLAIMS, made.without), ...made.claims, ...filler, ...more };
  return Buffer.from(made.claimsText ?? JSON.stringify(claims));
}

async function encryptFor(source: Source, claims: Buffer): Promise<string> {
  const algorithms = { HS256: "dir", RS256: "RSA-OAEP-256", ES256: "ECDH-ES" };
  const alg = algorithms[source.alg as keyof typeof algorithms];
  return new CompactEncrypt(claims)
    .setProtectedHeader({ alg, enc: "A256GCM" })
    .encrypt(source.verifyKey);
}

const encode = (text: string | Buffer) => Buffer.from(text).toString("base64url");

async function buildToken(made: Making, source: Source): Promise<string> {
  if (made.encrypt) return encryptFor(source, buildClaims(made));
  const header = encode(buildHeader(made, source));
  const payload = encode(buildClaims(made));
  const signature = createSignature(made, source, `${header}.${payload}`);
  const { afterSigning: changed } = made;
  const parts: Record<string, string> = {
    h: changed === undefined ? header : encode(buildHeader(made, source, changed.header)),
    p: changed === undefined ? payload : encode(buildClaims(made, changed.claims)),
    s: signature,
    halfSignature: signature.slice(0, signature.length / 2),
    rawPayload: buildClaims(made).toString(),
  };
  return made.shape.replaceAll(/\{(\w+)\}/g, (whole, part: string) => parts[part] ?? whole);
}

const config = parseConfig({
  SESSION_SECRET: SECRET,
  SESSION_ISSUER: ISSUER,
  SESSION_AUDIENCE: AUDIENCE,
  UPONAI_API_TOKEN: "token",
  UPONAI_WORKSPACE_ID: "42",
});

describe.each(["secret", "pem", "jwks"] as const)("with the key as %s", (kind) => {
  const source = sources[kind];
  let authenticator: Authenticator;

  beforeEach(async () => {
    fetch.mockReset().mockImplementation(() => Promise.resolve(new Response(jwks)));
    const keys = await source.createKeys();
    if (keys === undefined || config.kind !== "config") throw new Error("set-up failed");
    authenticator = createAuthenticator({
      keys,
      issuer: ISSUER,
      audience: AUDIENCE,
      workspaceClaim: "workspace",
      chatsClaim: "chats",
      variables: new Map(),
      cookies: undefined,
      clock,
      hashing: createHashing(config.config),
    });
  });

  const authenticate = (token: string) => authenticator.authenticate(`Bearer ${token}`);

  test.each(data.accepted.filter(({ sources: kinds }) => kinds.includes(kind)))(
    "a right token is accepted: $name",
    async (made) => {
      expect(await authenticate(await buildToken(made, source))).toMatchObject({
        kind: "session",
        session: { subject: made.subject },
      });
    },
  );

  const attacks = data.attacks.filter(({ sources: kinds }) => kinds.includes(kind));

  test.each(attacks)("$code: $name", async (made) => {
    const token = await buildToken(made, source);
    const refusal = { kind: "refused", code: made.code };
    expect(await authenticate(token)).toEqual(refusal);
    // Refused the second time as well: a refusal is never cached as a session.
    expect(await authenticate(token)).toEqual(refusal);
    // No header makes the service fetch from another URL than the configured one.
    const asked = fetch.mock.calls.map(([url]) => url);
    expect(asked).toEqual(kind === "jwks" && asked.length > 0 ? [JWKS_URL] : []);
  });

  test("a valid token is served among concurrent attacks", async () => {
    const tokens = await Promise.all(attacks.map((made) => buildToken(made, source)));
    const right = await buildToken(making.parse({ name: "right" }), source);
    const results = await Promise.all([...tokens, right].map(authenticate));
    expect(results.pop()).toMatchObject({ kind: "session", session: { subject: "alice" } });
    expect(results.map((result) => result.kind === "refused" && result.code)).toEqual(
      attacks.map(({ code }) => code),
    );
  });
});
