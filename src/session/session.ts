/** The type of a verified session. Only `createAuthenticator` creates one. */
import type { Subject } from "../branded.ts";
import type { SessionVariables, VariableClaim } from "./claims.ts";

/** The session as its credential states it: the claims of a token, or the content of a cookie. */
export interface SessionClaims {
  readonly subject: string;
  /**
   * Identifies the session among those of the subject: digest of `sid`, else of `jti`, else of the
   * token. A token and the cookie that it was exchanged for have the same value.
   */
  readonly sessionKey: string;
  /** True if other tokens can belong to the same session: those of one login share its `sid`. */
  readonly hasSiblings: boolean;
  /** When the token was issued, in milliseconds since the epoch; undefined without `iat`. */
  readonly issuedAtMs: number | undefined;
  /** When this credential expires, in milliseconds since the epoch. */
  readonly expiresAtMs: number;
  /** When the token expires: this one, or the one that this cookie was exchanged for. */
  readonly tokenExpiresAtMs: number;
  /** The workspace claim; undefined unless it is a string or an integer. */
  readonly workspaceClaim: string | undefined;
  /** The chats that the session is confined to; undefined without a chats claim. */
  readonly chats: readonly string[] | undefined;
  /** Values of the claims that `SESSION_VARIABLES` names, by claim name. Never logged. */
  readonly variableClaims: ReadonlyMap<string, VariableClaim>;
}

/** A verified session. Whether it was revoked is checked elsewhere, per request. */
export interface Session extends SessionClaims {
  readonly subject: Subject;
  /** Digest of the subject, so that state keys have a bounded length. */
  readonly subjectKey: string;
  /** Keyed hash of the subject. No other form of the subject is logged. */
  readonly subjectHash: string;
  /** The dynamic variables that the session sets: at most 4,096 bytes of JSON. Never logged. */
  readonly variables: SessionVariables | "too_large";
  /** The kind of credential that the request carried. */
  readonly via: "bearer" | "cookie";
}
