/** Owns the verdict on one session token: signature, time, issuer, audience, subject (RFC 8725). */
import { errors, type JWTPayload, jwtVerify, type JWTVerifyOptions } from "jose";

import type { Clock } from "../clock.ts";
import { type KeySource, KeysUnavailable } from "./key-source.ts";

/** How far the issuer's clock and ours may differ, in seconds. */
export const CLOCK_TOLERANCE_SECONDS = 30;

/** The last moment that a date can hold (ECMA-262, time values), in seconds since the epoch. */
const LAST_SECOND = 8_640_000_000_000;

export interface VerifiedClaims extends JWTPayload {
  readonly sub: string;
  readonly exp: number;
}

export type TokenVerdict =
  | { readonly kind: "verified"; readonly claims: VerifiedClaims }
  | { readonly kind: "refused"; readonly code: "session_invalid" | "session_expired" }
  /** The key cannot be had now: not the session's fault. Whole seconds until it may be, at least 1. */
  | { readonly kind: "unavailable"; readonly retryAfterSeconds: number };

export interface TokenRules {
  readonly keys: KeySource;
  /** Expected `iss`; not empty. */
  readonly issuer: string;
  /** Expected `aud`, alone or among others; not empty. */
  readonly audience: string;
  readonly clock: Clock;
}

/**
 * Verifies a compact JWS. Checks signature, algorithm by key kind, `crit`, `iss`, `aud`, `exp`,
 * `nbf`, `iat` and that `sub` is a non-empty string. Does not check revocation or the workspace.
 */
export async function verifyToken(token: string, rules: TokenRules): Promise<TokenVerdict> {
  const nowMs = rules.clock.epochMs();
  const options: JWTVerifyOptions = {
    algorithms: [...rules.keys.algorithms],
    issuer: rules.issuer,
    audience: rules.audience,
    clockTolerance: CLOCK_TOLERANCE_SECONDS,
    currentDate: new Date(nowMs),
    // Without this a token that has no such claim would pass.
    requiredClaims: ["exp", "sub"],
  };
  try {
    const payload = await verifyWithAnyKey(token, rules.keys, options);
    return judgeClaims(payload, nowMs / 1_000);
  } catch (error) {
    if (error instanceof KeysUnavailable) {
      return { kind: "unavailable", retryAfterSeconds: error.retryAfterSeconds };
    }
    if (error instanceof errors.JWTExpired) return { kind: "refused", code: "session_expired" };
    // A token can also be broken in ways for which the library throws no error of its own.
    return { kind: "refused", code: "session_invalid" };
  }
}

/** A token without a key id may fit several keys of a set, as during a rotation: each is tried. */
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

function judgeClaims(payload: JWTPayload, nowSeconds: number): TokenVerdict {
  const { sub, exp, iat } = payload;
  const issuedInTime =
    iat === undefined || (iat >= 0 && iat <= nowSeconds + CLOCK_TOLERANCE_SECONDS);
  const expires = exp !== undefined && exp <= LAST_SECOND;
  // Half a surrogate pair has no UTF-8: two such subjects could look alike.
  const named = typeof sub === "string" && sub !== "" && sub.isWellFormed();
  if (!named || !expires || !issuedInTime) {
    return { kind: "refused", code: "session_invalid" };
  }
  return { kind: "verified", claims: { ...payload, sub, exp } };
}
