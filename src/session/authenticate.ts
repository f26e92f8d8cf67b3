/** Owns the answer to "who is this?": credentials of a request in, a `Session` or a refusal out. */
import type { Subject } from "../branded.ts";
import type { Hashing } from "../hashing.ts";
import { readBearerToken } from "./bearer-token.ts";
import {
  mapVariables,
  parseChatsClaim,
  parseWorkspaceClaim,
  readVariableClaims,
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

export type Authentication =
  | { readonly kind: "session"; readonly session: Session }
  | { readonly kind: "missing" }
  | { readonly kind: "refused"; readonly code: "session_invalid" | "session_expired" }
  /** Seconds until sessions may be checked again; whole, at least 1. */
  | { readonly kind: "unavailable"; readonly retryAfterSeconds: number };

export interface Authenticator {
  /**
   * A bearer token decides alone where there is one; else the session cookie.
   *
   * @param authorization the `Authorization` header, or null
   * @param cookie the `Cookie` header, or null where cookies shall not count
   */
  authenticate(authorization: string | null, cookie?: string | null): Promise<Authentication>;
  /** Whether sessions can be checked at all; for `/readyz`. */
  isUsable(): Promise<boolean>;
}

export interface AuthenticatorOptions extends TokenRules {
  /** Names of the claims; see `resolveClaim`. */
  readonly workspaceClaim: string;
  readonly chatsClaim: string;
  /** Claim names by the variable that they set; see `SESSION_VARIABLES`. */
  readonly variables: ReadonlyMap<string, string>;
  readonly hashing: Hashing;
  /** Undefined: there are no cookie sessions, and cookies are not looked at. */
  readonly cookies: SessionCookies | undefined;
}

/** Verified credentials remembered; about 0.5 KiB each. */
const CACHED_SESSIONS_MAX = 20_000;
/** Longest time a verified token is taken on trust, so that a withdrawn key stops working. */
const CACHED_MS_MAX = 600_000;

export function createAuthenticator(options: AuthenticatorOptions): Authenticator {
  const { hashing, clock, cookies } = options;
  // Apart, so that a token cannot pass as a cookie because it is known as a token, or the reverse.
  const knownTokens = createSessionCache(CACHED_SESSIONS_MAX);
  const knownCookies = createSessionCache(CACHED_SESSIONS_MAX);

  const verifyBearer = async (token: string): Promise<Authentication> => {
    const digest = hashing.digest(token);
    const known = knownTokens.find(digest, clock.epochMs());
    if (known !== undefined) return { kind: "session", session: known };
    const verdict = await verifyToken(token, options);
    if (verdict.kind !== "verified") return verdict;
    // Without the signature: the same token can be written with another tail that verifies too.
    const content = token.slice(0, token.lastIndexOf("."));
    const claims = readClaims(verdict.claims, hashing.digest(content), options);
    const session = createSession(claims, "bearer", options);
    const expiryMs = claims.expiresAtMs + CLOCK_TOLERANCE_SECONDS * 1_000;
    knownTokens.add(digest, session, Math.min(expiryMs, clock.epochMs() + CACHED_MS_MAX));
    return { kind: "session", session };
  };

  const verifyCookie = async (header: string | null): Promise<Authentication> => {
    const cookie = cookies?.read(header) ?? { kind: "missing" };
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
      const bearer = readBearerToken(authorization);
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
    // The one place where a string becomes a subject: its credential was verified.
    subject: claims.subject as Subject, // oxlint-disable-line typescript/no-unsafe-type-assertion
    subjectKey: createSubjectKey(hashing, claims.subject),
    subjectHash: hashing.pseudonym(claims.subject),
    variables: mapVariables(variables, claims.variableClaims),
    via,
  };
}

/** The subject in state keys. 128 bits: no two subjects share limits, and keys stay short. */
export function createSubjectKey(hashing: Hashing, subject: string): string {
  return hashing.digest(subject).slice(0, 22);
}

function readClaims(
  claims: VerifiedClaims,
  contentDigest: string,
  { workspaceClaim, chatsClaim, variables, hashing }: AuthenticatorOptions,
): SessionClaims {
  const { sub, iat, exp, jti } = claims;
  const login = readId(claims["sid"]);
  const identity = login ?? readId(jti) ?? contentDigest;
  const kind = login === undefined ? (readId(jti) === undefined ? "token" : "jti") : "sid";
  return {
    subject: sub,
    sessionKey: hashing.digest(JSON.stringify([kind, identity, sub])).slice(0, 22),
    hasSiblings: login !== undefined,
    issuedAtMs: iat === undefined ? undefined : iat * 1_000,
    expiresAtMs: exp * 1_000,
    tokenExpiresAtMs: exp * 1_000,
    workspaceClaim: parseWorkspaceClaim(resolveClaim(claims, workspaceClaim)),
    chats: parseChatsClaim(resolveClaim(claims, chatsClaim)),
    variableClaims: readVariableClaims(claims, variables.values()),
  };
}

function readId(value: unknown): string | undefined {
  if (typeof value === "number" && Number.isSafeInteger(value)) return String(value);
  return typeof value === "string" && value !== "" ? value : undefined;
}
