/** Parses the bearer token of an `Authorization` header (RFC 6750 section 2.1). */

/** Result of parsing. */
export type BearerToken =
  | { readonly kind: "token"; readonly token: string }
  /** No bearer credentials: no header, or another scheme, which this service ignores. */
  | { readonly kind: "missing" }
  /** Bearer credentials that do not hold exactly one compact JWS of bounded length. */
  | { readonly kind: "malformed" };

/** Longest token that is verified, in bytes: verification costs CPU time per byte. */
export const TOKEN_BYTES_MAX = 8_192;

/** Longest `Authorization` header that is parsed, in characters: scheme, spaces and token. */
const AUTHORIZATION_CHARS_MAX = TOKEN_BYTES_MAX + 64;

// A JWS in compact form: three base64url parts and nothing else. The five parts of a JWE, a second
// token after a comma (the runtime joins two headers so) and trailing text do not match.
const COMPACT_JWS = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/;

/**
 * Parses the bearer token. It does not verify the token.
 *
 * @param authorization value of the header, or null. Several headers are joined by commas.
 */
export function parseBearerToken(authorization: string | null): BearerToken {
  if (authorization === null) return { kind: "missing" };
  const scheme =
    authorization.length > AUTHORIZATION_CHARS_MAX
      ? null
      : /^([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?: +|$)/.exec(authorization);
  // RFC 9110 section 11.1: the scheme is case-insensitive.
  if (scheme?.[1]?.toLowerCase() !== "bearer") {
    return { kind: authorization.toLowerCase().includes("bearer") ? "malformed" : "missing" };
  }
  const token = authorization.slice(scheme[0].length);
  if (token.length > TOKEN_BYTES_MAX || !COMPACT_JWS.test(token)) return { kind: "malformed" };
  return { kind: "token", token };
}
