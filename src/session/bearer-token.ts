/** Owns reading a bearer token from the `Authorization` header (RFC 6750 section 2.1). */

export type BearerToken =
  | { readonly kind: "token"; readonly token: string }
  /** No bearer credentials at all: another scheme is not ours to judge. */
  | { readonly kind: "missing" }
  /** Bearer credentials that no token can be read from. */
  | { readonly kind: "malformed" };

/** Longest token that is looked at, in bytes: what follows costs CPU per byte. */
export const TOKEN_BYTES_MAX = 8_192;

/** Longest `Authorization` header that a scheme is read from: the token, its scheme and spaces. */
const AUTHORIZATION_CHARS_MAX = TOKEN_BYTES_MAX + 64;

// Three base64url parts and nothing after: a JWS in compact form. The five parts of a JWE, a second
// token after a comma (two headers arrive joined so) and trailing text do not match.
const COMPACT_JWS = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/;

/** @param authorization the header's value; several such headers joined by a comma, or null */
export function readBearerToken(authorization: string | null): BearerToken {
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
