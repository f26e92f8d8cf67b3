/** Owns what a proven session is. Only `createAuthenticator` makes one. */
import type { Subject } from "../branded.ts";
import type { SessionVariables, VariableClaim } from "./claims.ts";

/** What a credential says of its session; a token by its claims, a cookie by what was sealed in it. */
export interface SessionClaims {
  readonly subject: string;
  /**
   * What makes it this session among the subject's: digest of `sid`, else of `jti`, else of the
   * token. A token and the cookie it was swapped for have the same.
   */
  readonly sessionKey: string;
  /** Whether other tokens can belong to the same session, as those of one login with one `sid` do. */
  readonly hasSiblings: boolean;
  /** When the token was issued, in milliseconds since the epoch; undefined where it does not say. */
  readonly issuedAtMs: number | undefined;
  /** When this credential expires, in milliseconds since the epoch. */
  readonly expiresAtMs: number;
  /** When the token expires that this is, or that it was swapped for. */
  readonly tokenExpiresAtMs: number;
  /** The value of the workspace claim, if it is a string or an integer. */
  readonly workspaceClaim: string | undefined;
  /** The chats that it is confined to; undefined where it has no such claim. */
  readonly chats: readonly string[] | undefined;
  /** Values of the claims in `SESSION_VARIABLES`, by the claim's name; never logged. */
  readonly variableClaims: ReadonlyMap<string, VariableClaim>;
}

export interface Session extends SessionClaims {
  readonly subject: Subject;
  /** Digest of the subject, for state keys of bounded length. */
  readonly subjectKey: string;
  /** Keyed hash of the subject, the only form of it that is logged. */
  readonly subjectHash: string;
  /** The dynamic variables that it sets, at most 4,096 bytes of JSON; never logged. */
  readonly variables: SessionVariables | "too_large";
  readonly via: "bearer" | "cookie";
}
