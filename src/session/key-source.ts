/**
 * The keys that verify session tokens, and which algorithms each kind of key may be used with
 * (RFC 8725 section 3.1: never the token's own choice).
 */
import {
  createLocalJWKSet,
  exportJWK,
  importJWK,
  importSPKI,
  type JSONWebKeySet,
  type JWK,
  type JWTVerifyGetKey,
} from "jose";
import { z } from "zod";

export interface KeySource {
  readonly algorithms: readonly string[];
  /** The key for a token's header. Throws jose's errors where none fits, or `KeysUnavailable`. */
  readonly getKey: JWTVerifyGetKey;
  /** Whether tokens can be verified at all; fetches the keys where that was not done yet. */
  isUsable(): Promise<boolean>;
}

/** The key is elsewhere and cannot be had now: whether the token is right cannot be told. */
export class KeysUnavailable extends Error {
  override readonly name = "KeysUnavailable";
  /** When the keys may be asked for again, in seconds; whole, at least 1. */
  readonly retryAfterSeconds: number;

  constructor(retryAfterSeconds = 1) {
    super("the keys are not available");
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

/** Signature algorithms of public keys. No HMAC: a public key would be everybody's secret. */
export const PUBLIC_KEY_ALGORITHMS: readonly string[] = [
  "RS256",
  "RS384",
  "RS512",
  "PS256",
  "PS384",
  "PS512",
  "ES256",
  "ES384",
  "ES512",
  "EdDSA",
  "Ed25519",
];

/**
 * Some issuers write optional members that have no value (`use`, `alg`, `key_ops`, `kid` and others)
 * as null or empty. They say nothing, and the library would take them for wrong values.
 */
function dropEmptyMembers(jwk: unknown): unknown {
  if (typeof jwk !== "object" || jwk === null || Array.isArray(jwk)) return jwk;
  return Object.fromEntries(Object.entries(jwk).filter(([, value]) => !isEmpty(value)));
}

function isEmpty(value: unknown): boolean {
  return value === null || value === "" || (Array.isArray(value) && value.length === 0);
}

// Loose: a JWK has many optional members. What matters here is what it must not be.
const publicJwk = z.preprocess(
  dropEmptyMembers,
  z.looseObject({ kty: z.enum(["RSA", "EC", "OKP"]) }).refine((jwk) => !("d" in jwk)),
);
const publicJwks = z.object({ keys: z.array(publicJwk).min(1) });

/** HS256 under a shared secret of at least 32 bytes (RFC 7518 section 3.2). */
export async function createSecretKeySource(secret: string): Promise<KeySource> {
  const key = await crypto.subtle.importKey(
    "raw",
    new TextEncoder().encode(secret),
    { name: "HMAC", hash: "SHA-256" },
    false,
    ["verify"],
  );
  return {
    algorithms: ["HS256"],
    getKey: () => Promise.resolve(key),
    isUsable: () => Promise.resolve(true),
  };
}

/**
 * Public keys from the configuration.
 *
 * @param text SPKI PEM (line breaks may be written as `\n`), or a public JWK or JWKS as JSON
 * @returns undefined when no token could be verified with it: also for a private or symmetric key
 */
export async function createPublicKeySource(text: string): Promise<KeySource | undefined> {
  const given = text.trimStart().startsWith("{") ? parsePublicJwks(text) : await readPem(text);
  const keys = await keepUsable(given);
  if (keys.length === 0) return undefined;
  return {
    algorithms: PUBLIC_KEY_ALGORITHMS,
    getKey: createKeyFinder({ keys }),
    isUsable: () => Promise.resolve(true),
  };
}

/** Finds the key for a token's header in a set. Throws jose's errors where none fits. */
export function createKeyFinder({ keys }: JSONWebKeySet): JWTVerifyGetKey {
  const findKey = createLocalJWKSet({ keys });
  // Keys without ids fit a token whatever id it names: an issuer's PEM says nothing of them.
  const nameless = keys.every(({ kid }) => kid === undefined);
  return ({ kid, ...header }, token) =>
    findKey(nameless || kid === undefined ? header : { ...header, kid }, token);
}

function parsePublicJwks(text: string): readonly JWK[] {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return [];
  }
  const one = publicJwk.safeParse(json);
  if (one.success) return [one.data];
  return publicJwks.safeParse(json).data?.keys ?? [];
}

/** A PEM does not say what it is for: it is taken for each kind of key in turn. */
async function readPem(text: string): Promise<readonly JWK[]> {
  const pem = text.replaceAll(String.raw`\n`, "\n").trim();
  for (const algorithm of ["RS256", "ES256", "ES384", "ES512", "EdDSA"]) {
    try {
      const key = await importSPKI(pem, algorithm, { extractable: true });
      return [await exportJWK(key)];
    } catch {
      // Not this kind; the next one decides.
    }
  }
  return [];
}

/** The usable keys of a fetched JWKS; private, symmetric and unknown ones are passed over. */
export async function readFetchedJwks(json: unknown): Promise<JSONWebKeySet | undefined> {
  const set = z.object({ keys: z.array(z.unknown()) }).safeParse(json);
  if (!set.success) return undefined;
  const keys = await keepUsable(
    set.data.keys.flatMap((key) => publicJwk.safeParse(key).data ?? []),
  );
  return keys.length > 0 ? { keys } : undefined;
}

async function keepUsable(keys: readonly JWK[]): Promise<JWK[]> {
  const usable = await Promise.all(keys.map(canVerify));
  return keys.filter((_key, index) => usable[index]);
}

/** The least that RFC 7518 section 3.3 allows, in bits. */
const RSA_BITS_MIN = 2_048;

/** Whether a signature can be verified with this key at all; found out at once, not per session. */
async function canVerify(jwk: JWK): Promise<boolean> {
  const { use, key_ops: operations, alg = guessAlgorithm(jwk) } = jwk;
  if (use !== undefined && use !== "sig") return false;
  if (operations !== undefined && !operations.includes("verify")) return false;
  if (alg === undefined || !PUBLIC_KEY_ALGORITHMS.includes(alg)) return false;
  try {
    const key = await importJWK(jwk, alg);
    if (key instanceof Uint8Array) return false;
    const bits: unknown = Reflect.get(key.algorithm, "modulusLength");
    return typeof bits !== "number" || bits >= RSA_BITS_MIN;
  } catch {
    return false;
  }
}

const EC_ALGORITHMS: Readonly<Record<string, string>> = {
  "P-256": "ES256",
  "P-384": "ES384",
  "P-521": "ES512",
};

/** Some algorithm that fits the key, to import it with. */
function guessAlgorithm({ kty, crv }: JWK): string | undefined {
  if (kty === "RSA") return "RS256";
  if (kty === "OKP") return crv === "Ed25519" ? "EdDSA" : undefined;
  return crv === undefined ? undefined : EC_ALGORITHMS[crv];
}
