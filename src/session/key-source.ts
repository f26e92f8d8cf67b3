/**
 * Owns the keys that verify session tokens, and which algorithms each kind of key may be used with
 * (RFC 8725 section 3.1: never the token's own choice).
 */
import {
  createLocalJWKSet,
  exportJWK,
  importSPKI,
  type JSONWebKeySet,
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

/** The keys are elsewhere and could never be fetched: nobody's session can be judged. */
export class KeysUnavailable extends Error {
  override readonly name = "KeysUnavailable";
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

// Loose: a JWK has many optional members. What matters here is what it must not be.
const publicJwk = z
  .looseObject({ kty: z.enum(["RSA", "EC", "OKP"]) })
  .refine((jwk) => !("d" in jwk));
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
 * @returns undefined when the text holds no usable public key: also for a private or symmetric one
 */
export async function createPublicKeySource(text: string): Promise<KeySource | undefined> {
  const jwks = text.trimStart().startsWith("{") ? parsePublicJwks(text) : await readPem(text);
  if (jwks === undefined) return undefined;
  return {
    algorithms: PUBLIC_KEY_ALGORITHMS,
    getKey: createLocalJWKSet(jwks),
    isUsable: () => Promise.resolve(true),
  };
}

function parsePublicJwks(text: string): JSONWebKeySet | undefined {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return undefined;
  }
  const one = publicJwk.safeParse(json);
  if (one.success) return { keys: [one.data] };
  const several = publicJwks.safeParse(json);
  return several.success ? several.data : undefined;
}

/** A PEM does not say what it is for: it is taken for each kind of key in turn. */
async function readPem(text: string): Promise<JSONWebKeySet | undefined> {
  const pem = text.replaceAll(String.raw`\n`, "\n").trim();
  for (const algorithm of ["RS256", "ES256", "ES384", "ES512", "EdDSA"]) {
    try {
      const key = await importSPKI(pem, algorithm, { extractable: true });
      return { keys: [await exportJWK(key)] };
    } catch {
      // Not this kind; the next one decides.
    }
  }
  return undefined;
}

/** The usable public keys of a fetched JWKS; symmetric and unknown ones are passed over. */
export function readFetchedJwks(json: unknown): JSONWebKeySet | undefined {
  const set = z.object({ keys: z.array(z.unknown()) }).safeParse(json);
  if (!set.success) return undefined;
  const keys = set.data.keys.flatMap((key) => publicJwk.safeParse(key).data ?? []);
  return keys.length > 0 ? { keys } : undefined;
}
