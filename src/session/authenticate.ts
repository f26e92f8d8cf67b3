/**
 * Authenticates a request: turns its bearer token or session cookie into a `Session` or a refusal.
 */
import type { Subject } from "../branded.ts";
import type { Hashing } from "../hashing.ts";
import {
  mapVariables,
  parseChatsClaim,
  parseWorkspaceClaim,
  resolveVariableClaims,
  resolveClaim,
} from "./claims.ts";
import type { SessionCookies } from "./session-cookie.ts";
import type { Session, SessionClaims } from "./session.ts";
import {
  CLOCK_TOLERANCE_SECONDS,
  type TokenRules,
  type VerifiedClaims,
  verifyToken,
} from "./verify-token.ts";

/** Result of an authentication. */
export type Authentication =
  | { readonly kind: "session"; readonly session: Session }
  /** The request has neither a bearer token nor a session cookie. */
  | { readonly kind: "missing" }
  | { readonly kind: "refused"; readonly code: "session_invalid" | "session_expired" }
  /** The keys cannot be fetched now. Whole seconds until the next attempt, at least 1. */
  | { readonly kind: "unavailable"; readonly retryAfterSeconds: number };

export interface Authenticator {
  /**
   * Authenticates a request. If there is a bearer token, it decides alone and the cookie is
   * ignored. It checks neither whether the session was revoked nor its workspace.
   *
   * @param authorization the `Authorization` header, or null
   * @param cookie the `Cookie` header; null if there is none or the route ignores cookies
   */
  authenticate(authorization: string | null, cookie?: string | null): Promise<Authentication>;
  /** Tells whether tokens can be verified now; for `/readyz`. */
  isUsable(): Promise<boolean>;
}

/** Rules for tokens, names of claims, and the services that authentication needs. */
export interface AuthenticatorOptions extends TokenRules {
  /** Names of claims as the operator wrote them; see `resolveClaim`. */
  readonly workspaceClaim: string;
  readonly chatsClaim: string;
  /** Names of claims by the variable that each sets (`SESSION_VARIABLES`). */
  readonly variables: ReadonlyMap<string, string>;
  readonly hashing: Hashing;
  /** Undefined if cookie sessions are off; cookies are then ignored. */
  readonly cookies: SessionCookies | undefined;
}

/** Most verified credentials in each cache; about 0.5 KiB each. */
const CACHED_SESSIONS_MAX = 20_000;
/** Longest time in the cache, in milliseconds, so that tokens of a withdrawn key stop working. */
const CACHED_MS_MAX = 600_000;

/** Creates the authenticator of one process. It caches verified credentials. */
export function createAuthenticator(options: AuthenticatorOptions): Authenticator {
  const { hashing, clock, cookies } = options;
  // Two caches, so that a known token is not accepted as a cookie, or a known cookie as a token.
  const knownTokens = createSessionCache(CACHED_SESSIONS_MAX);
  const knownCookies = createSessionCache(CACHED_SESSIONS_MAX);

  const verifyBearer = async (token: string): Promise<Authentication> => {
    const digest = hashing.digest(token);
    const known = knownTokens.find(digest, clock.epochMs());
    if (known !== undefined) return { kind: "session", session: known };
    const verdict = await verifyToken(token, options);
    if (verdict.kind !== "verified") return verdict;
    // Without the signature part: it can be written in several ways that verify (spare base64url
    // bits, ECDSA). All of them must be the same session, so that revoking one revokes them all.
    const content = token.slice(0, token.lastIndexOf("."));
    const claims = parseSessionClaims(verdict.claims, hashing.digest(content), options);
    const session = createSession(claims, "bearer", options);
    const expiryMs = claims.expiresAtMs + CLOCK_TOLERANCE_SECONDS * 1_000;
    knownTokens.add(digest, session, Math.min(expiryMs, clock.epochMs() + CACHED_MS_MAX));
    return { kind: "session", session };
  };

  const verifyCookie = async (header: string | null): Promise<Authentication> => {
    const cookie = cookies?.parse(header) ?? { kind: "missing" };
    if (cookies === undefined || cookie.kind === "missing") return { kind: "missing" };
    if (cookie.kind === "ambiguous") return { kind: "refused", code: "session_invalid" };
    const digest = hashing.digest(cookie.value);
    const known = knownCookies.find(digest, clock.epochMs());
    if (known !== undefined) return { kind: "session", session: known };
    const opened = await cookies.open(cookie.value);
    if (opened.kind === "refused") return opened;
    const session = createSession(opened.claims, "cookie", options);
    knownCookies.add(digest, session, opened.claims.expiresAtMs);
    return { kind: "session", session };
  };

  return {
    isUsable: () => options.keys.isUsable(),
    async authenticate(authorization, cookie = null) {
      const bearer = parseBearerToken(authorization);
      if (bearer.kind === "malformed") return { kind: "refused", code: "session_invalid" };
      return bearer.kind === "token" ? verifyBearer(bearer.token) : verifyCookie(cookie);
    },
  };
}

function createSession(
  claims: SessionClaims,
  via: Session["via"],
  { hashing, variables }: AuthenticatorOptions,
): Session {
  return {
    ...claims,
    // The only cast to `Subject`: the credential that names it was verified.
    subject: claims.subject as Subject, // oxlint-disable-line typescript/no-unsafe-type-assertion
    subjectKey: createSubjectKey(hashing, claims.subject),
    subjectHash: hashing.pseudonym(claims.subject),
    variables: mapVariables(variables, claims.variableClaims),
    via,
  };
}

/**
 * Creates the form of a subject that state keys hold: 22 base64url characters (132 bits) of its
 * digest. Long enough that no two subjects share limits; state keys stay short.
 */
export function createSubjectKey(hashing: Hashing, subject: string): string {
  return hashing.digest(subject).slice(0, 22);
}

/** @param contentDigest digest of header and payload: identifies a token without `sid` and `jti` */
function parseSessionClaims(
  claims: VerifiedClaims,
  contentDigest: string,
  { workspaceClaim, chatsClaim, variables, hashing }: AuthenticatorOptions,
): SessionClaims {
  const { sub, iat, exp, jti } = claims;
  const login = parseId(claims["sid"]);
  const identity = login ?? parseId(jti) ?? contentDigest;
  const kind = login === undefined ? (parseId(jti) === undefined ? "token" : "jti") : "sid";
  return {
    subject: sub,
    sessionKey: hashing.digest(JSON.stringify([kind, identity, sub])).slice(0, 22),
    hasSiblings: login !== undefined,
    issuedAtMs: iat === undefined ? undefined : iat * 1_000,
    expiresAtMs: exp * 1_000,
    tokenExpiresAtMs: exp * 1_000,
    workspaceClaim: parseWorkspaceClaim(resolveClaim(claims, workspaceClaim)),
    chats: parseChatsClaim(resolveClaim(claims, chatsClaim)),
    variableClaims: resolveVariableClaims(claims, variables.values()),
  };
}

function parseId(value: unknown): string | undefined {
  if (typeof value === "number" && Number.isSafeInteger(value)) return String(value);
  return typeof value === "string" && value !== "" ? value : undefined;
}

/** Result of parsing an `Authorization` header. */
type BearerToken =
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
 * Parses the bearer token of an `Authorization` header (RFC 6750 section 2.1). It does not verify
 * the token.
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

interface CachedSession {
  readonly session: Session;
  readonly validUntilMs: number;
}

/**
 * Bounded cache of the sessions of verified credentials, with least-recently-used eviction. It saves
 * the verification of each further request. Its keys are digests of the credentials: it holds no
 * token. Revocation is checked per request, not here.
 */
interface SessionCache {
  /** Returns the session if it is cached and valid at `nowMs` (milliseconds since the epoch). */
  find(digest: string, nowMs: number): Session | undefined;
  /** Adds a session; it is valid until `validUntilMs` (milliseconds since the epoch). */
  add(digest: string, session: Session, validUntilMs: number): void;
}

/**
 * Creates a cache of sessions.
 *
 * @param sizeMax most sessions, 1 or more; at the limit the least recently used one is dropped
 */
export function createSessionCache(sizeMax: number): SessionCache {
  // A Map iterates in insertion order. Each use inserts the entry again, so the least recently used
  // entry is always the first.
  const entries = new Map<string, CachedSession>();
  return {
    find(digest, nowMs) {
      const entry = entries.get(digest);
      if (entry === undefined) return undefined;
      entries.delete(digest);
      if (nowMs >= entry.validUntilMs) return undefined;
      entries.set(digest, entry);
      return entry.session;
    },
    add(digest, session, validUntilMs) {
      if (entries.size >= sizeMax) {
        const oldest = entries.keys().next();
        if (oldest.done !== true) entries.delete(oldest.value);
      }
      entries.set(digest, { session, validUntilMs });
    },
  };
}
