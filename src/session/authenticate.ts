/** Owns the answer to "who is this?": credentials of a request in, a `Session` or a refusal out. */
import type { Subject } from "../branded.ts";
import type { Hashing } from "../hashing.ts";
import { readBearerToken } from "./bearer-token.ts";
import { parseWorkspaceClaim, resolveClaim } from "./claims.ts";
import { createSessionCache } from "./session-cache.ts";
import type { Session } from "./session.ts";
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
  | { readonly kind: "unavailable" };

export interface Authenticator {
  /** @param authorization the `Authorization` header, or null */
  authenticate(authorization: string | null): Promise<Authentication>;
  /** Whether sessions can be checked at all; for `/readyz`. */
  isUsable(): Promise<boolean>;
}

export interface AuthenticatorOptions extends TokenRules {
  /** Name of the workspace claim; see `resolveClaim`. */
  readonly workspaceClaim: string;
  readonly hashing: Hashing;
}

/** Verified tokens remembered; about 0.5 KiB each. */
const CACHED_SESSIONS_MAX = 20_000;
/** Longest time a verified token is taken on trust, so that a withdrawn key stops working. */
const CACHED_MS_MAX = 600_000;

export function createAuthenticator(options: AuthenticatorOptions): Authenticator {
  const { hashing, clock } = options;
  const cache = createSessionCache(CACHED_SESSIONS_MAX);
  return {
    isUsable: () => options.keys.isUsable(),
    async authenticate(authorization) {
      const bearer = readBearerToken(authorization);
      if (bearer.kind === "missing") return bearer;
      if (bearer.kind === "malformed") return { kind: "refused", code: "session_invalid" };
      const digest = hashing.digest(bearer.token);
      const nowMs = clock.epochMs();
      const known = cache.find(digest, nowMs);
      if (known !== undefined) return { kind: "session", session: known };

      const verdict = await verifyToken(bearer.token, options);
      if (verdict.kind !== "verified") return verdict;
      const session = createSession(verdict.claims, options);
      const expiryMs = session.expiresAtMs + CLOCK_TOLERANCE_SECONDS * 1_000;
      cache.add(digest, session, Math.min(expiryMs, nowMs + CACHED_MS_MAX));
      return { kind: "session", session };
    },
  };
}

function createSession(
  claims: VerifiedClaims,
  { workspaceClaim, hashing }: AuthenticatorOptions,
): Session {
  return {
    // The one place where a string becomes a subject: its token was verified.
    subject: claims.sub as Subject, // oxlint-disable-line typescript/no-unsafe-type-assertion
    // 128 bits of the digest: no two subjects share limits, and keys stay short.
    subjectKey: hashing.digest(claims.sub).slice(0, 22),
    subjectHash: hashing.pseudonym(claims.sub),
    workspaceClaim: parseWorkspaceClaim(resolveClaim(claims, workspaceClaim)),
    expiresAtMs: claims.exp * 1_000,
  };
}
