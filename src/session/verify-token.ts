/** Verifies a session token: signature, times, issuer, audience and subject (RFC 8725). */
import { errors, type JWTPayload, jwtVerify, type JWTVerifyOptions } from "jose";

import type { Clock } from "../clock.ts";
import { type KeySource, KeysUnavailable } from "./key-source.ts";

/** Largest difference between the issuer's clock and the own one that is tolerated, in seconds. */
export const CLOCK_TOLERANCE_SECONDS = 30;

/** Largest time that a JavaScript `Date` can hold (ECMA-262), in seconds since the epoch. */
const LAST_SECOND = 8_640_000_000_000;

/** Claims of a token that passed all checks. */
export interface VerifiedClaims extends JWTPayload {
  readonly sub: string;
  readonly exp: number;
}

/** Result of the verification. */
export type TokenVerdict =
  | { readonly kind: "verified"; readonly claims: VerifiedClaims }
  | { readonly kind: "refused"; readonly code: "session_invalid" | "session_expired" }
  /** The keys cannot be fetched now. Whole seconds until the next attempt, at least 1. */
  | { readonly kind: "unavailable"; readonly retryAfterSeconds: number };

/** What a token must satisfy. */
export interface TokenRules {
  readonly keys: KeySource;
  /** Expected `iss`; not empty. */
  readonly issuer: string;
  /** Expected `aud`: the only audience or one of several; not empty. */
  readonly audience: string;
  readonly clock: Clock;
}

/**
 * Verifies a compact JWS. It checks the signature, the algorithm (by the kind of key), `crit`,
 * `iss`, `aud`, `exp`, `nbf`, `iat`, and that `sub` is a non-empty string. It does not check the
 * length of the token, whether the session was revoked, or the workspace.
 */
export async function verifyToken(token: string, rules: TokenRules): Promise<TokenVerdict> {
  const nowMs = rules.clock.epochMs();
  const options: JWTVerifyOptions = {
    algorithms: [...rules.keys.algorithms],
    issuer: rules.issuer,
    audience: rules.audience,
    clockTolerance: CLOCK_TOLERANCE_SECONDS,
    currentDate: new Date(nowMs),
    // jose accepts a token without these claims unless they are required here.
    requiredClaims: ["exp", "sub"],
  };
  try {
    const payload = await verifyWithAnyKey(token, rules.keys, options);
    return validateClaims(payload, nowMs / 1_000);
  } catch (error) {
    if (error instanceof KeysUnavailable) {
      return { kind: "unavailable", retryAfterSeconds: error.retryAfterSeconds };
    }
    if (error instanceof errors.JWTExpired) return { kind: "refused", code: "session_expired" };
    // Any other error as well: some broken tokens make jose throw errors that are not its own.
    return { kind: "refused", code: "session_invalid" };
  }
}

/**
 * Verifies with each key that fits. A token without a key id fits several during a key rotation.
 */
async function verifyWithAnyKey(
  token: string,
  keys: KeySource,
  options: JWTVerifyOptions,
): Promise<JWTPayload> {
  try {
    return (await jwtVerify(token, keys.getKey, options)).payload;
  } catch (error) {
    if (!(error instanceof errors.JWKSMultipleMatchingKeys)) throw error;
    for await (const key of error) {
      try {
        return (await jwtVerify(token, key, options)).payload;
      } catch (failure) {
        if (!(failure instanceof errors.JWSSignatureVerificationFailed)) throw failure;
      }
    }
    throw error;
  }
}

/** Validates what jose does not: `iat`, a bounded `exp`, and the subject. */
function validateClaims(payload: JWTPayload, nowSeconds: number): TokenVerdict {
  const { sub, exp, iat } = payload;
  const issuedInTime =
    iat === undefined || (iat >= 0 && iat <= nowSeconds + CLOCK_TOLERANCE_SECONDS);
  const expires = exp !== undefined && exp <= LAST_SECOND;
  // A lone surrogate has no UTF-8 encoding: two different subjects would get the same digest.
  const named = typeof sub === "string" && sub !== "" && sub.isWellFormed();
  if (!named || !expires || !issuedInTime) {
    return { kind: "refused", code: "session_invalid" };
  }
  return { kind: "verified", claims: { ...payload, sub, exp } };
}
