/**
 * The keys that verify session tokens, and the algorithms that each kind of key allows. The token's
 * `alg` header never selects an algorithm outside this list (RFC 8725 section 3.1).
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

/** The keys of one issuer. */
export interface KeySource {
  /** Signature algorithms that a token may use, such as `ES256`. */
  readonly algorithms: readonly string[];
  /**
   * Resolves the key for a token's header. Throws jose's errors if none fits, or `KeysUnavailable`.
   */
  readonly getKey: JWTVerifyGetKey;
  /** Tells whether tokens can be verified now. Fetches the keys if that has not been done yet. */
  isUsable(): Promise<boolean>;
}

/** The keys cannot be fetched now, so that it is unknown whether the token is valid. */
export class KeysUnavailable extends Error {
  override readonly name = "KeysUnavailable";
  /** Whole seconds until the next attempt to fetch the keys, at least 1. */
  readonly retryAfterSeconds: number;

  constructor(retryAfterSeconds = 1) {
    super("the keys are not available");
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

/** Signature algorithms of public keys. No HMAC: with it, the public key would be the secret. */
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
 * Removes members that are null or empty. Some issuers write optional members without a value so
 * (`use`, `alg`, `key_ops`, `kid`), and jose would refuse them as wrong values.
 */
function dropEmptyMembers(jwk: unknown): unknown {
  if (typeof jwk !== "object" || jwk === null || Array.isArray(jwk)) return jwk;
  return Object.fromEntries(Object.entries(jwk).filter(([, value]) => !isEmpty(value)));
}

function isEmpty(value: unknown): boolean {
  return value === null || value === "" || (Array.isArray(value) && value.length === 0);
}

// Unknown members are allowed: a JWK has many optional ones. The check is that the key is public.
const publicJwk = z.preprocess(
  dropEmptyMembers,
  z.looseObject({ kty: z.enum(["RSA", "EC", "OKP"]) }).refine((jwk) => !("d" in jwk)),
);
const publicJwks = z.object({ keys: z.array(publicJwk).min(1) });

/**
 * Creates a key source for HS256 under a shared secret.
 *
 * @param secret at least 32 bytes in UTF-8 (RFC 7518 section 3.2); the length is not checked here
 */
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
 * Creates a key source for public keys from the configuration.
 *
 * @param text SPKI PEM (line breaks may be written as `\n`), or a public JWK or JWKS as JSON
 * @returns undefined if it holds no key that can verify a token, such as a private or symmetric key
 */
export async function createPublicKeySource(text: string): Promise<KeySource | undefined> {
  const given = text.trimStart().startsWith("{") ? parsePublicJwks(text) : await parsePem(text);
  const keys = await keepUsable(given);
  if (keys.length === 0) return undefined;
  return {
    algorithms: PUBLIC_KEY_ALGORITHMS,
    getKey: createKeyFinder({ keys }),
    isUsable: () => Promise.resolve(true),
  };
}

/**
 * Creates the function that resolves the key for a token's header. It throws jose's errors if none
 * fits.
 */
export function createKeyFinder({ keys }: JSONWebKeySet): JWTVerifyGetKey {
  const findKey = createLocalJWKSet({ keys });
  // If no key of the set has an id, the token's `kid` is ignored: a PEM has no place for a key id.
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

/**
 * Parses an SPKI PEM. jose needs to know the kind of key in advance, so each kind is tried in turn.
 */
async function parsePem(text: string): Promise<readonly JWK[]> {
  const pem = text.replaceAll(String.raw`\n`, "\n").trim();
  for (const algorithm of ["RS256", "ES256", "ES384", "ES512", "EdDSA"]) {
    try {
      const key = await importSPKI(pem, algorithm, { extractable: true });
      return [await exportJWK(key)];
    } catch {
      // Not a key of this kind: the next kind is tried.
    }
  }
  return [];
}

/**
 * Parses a fetched JWKS and keeps its usable keys. Private, symmetric and unknown keys are ignored.
 *
 * @returns undefined if the JSON is no JWKS or has no usable key
 */
export async function parseFetchedJwks(json: unknown): Promise<JSONWebKeySet | undefined> {
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

/** Smallest RSA key that RFC 7518 section 3.3 allows, in bits. */
const RSA_BITS_MIN = 2_048;

/** Tells whether this key can verify signatures. Tested once, when the key is read. */
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

/** Returns an algorithm that fits the key, because importing it needs one. */
function guessAlgorithm({ kty, crv }: JWK): string | undefined {
  if (kty === "RSA") return "RS256";
  if (kty === "OKP") return crv === "Ed25519" ? "EdDSA" : undefined;
  return crv === undefined ? undefined : EC_ALGORITHMS[crv];
}
