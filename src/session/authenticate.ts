/**
 * Authenticates a request: turns its bearer token or session cookie into a `Session` or a refusal.
 */
import type { Subject } from "../branded.ts";
import type { Hashing } from "../hashing.ts";
import { parseBearerToken } from "./bearer-token.ts";
import {
  mapVariables,
  parseChatsClaim,
  parseWorkspaceClaim,
  resolveVariableClaims,
  resolveClaim,
} from "./claims.ts";
import { createSessionCache } from "./session-cache.ts";
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
