/** Owns what a proven session is. Only `createAuthenticator` makes one. */
import type { Subject } from "../branded.ts";

export interface Session {
  readonly subject: Subject;
  /** Digest of the subject, for state keys of bounded length. */
  readonly subjectKey: string;
  /** Keyed hash of the subject, the only form of it that is logged. */
  readonly subjectHash: string;
  /** The value of the workspace claim, if it is a string or an integer. */
  readonly workspaceClaim: string | undefined;
  /** When the token expires, in milliseconds since the epoch. */
  readonly expiresAtMs: number;
}
