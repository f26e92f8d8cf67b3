/**
 * Owns the port between the product and its state: what is asked in one atomic step, and what can
 * come back. It imports no implementation; the in-process one and Redis answer alike.
 *
 * A message makes two round trips: `admit` before it goes upstream and `settle` after. Whatever
 * else has to be decided or remembered per message joins one of the two.
 */
import type { ChatId, WorkspaceId } from "../branded.ts";
import type { LimitPolicies, LimitPolicy, LimitStatus } from "./limit-policy.ts";

/** What identifies a session to the state. */
export interface SessionRef {
  /** Undefined where no workspace is listed for the session. */
  readonly workspaceId: WorkspaceId | undefined;
  /** Digest of the session's subject. */
  readonly subjectKey: string;
  /** Digest of the session's own id. */
  readonly sessionKey: string;
  /** When its token was issued, in milliseconds since the epoch; undefined counts as long ago. */
  readonly issuedAtMs: number | undefined;
}

/** May this message be sent now? */
export interface AdmitRequest extends SessionRef {
  readonly workspaceId: WorkspaceId;
  /** Normalised client address; see `resolveClientAddress`. */
  readonly addressKey: string;
  readonly chatId: ChatId;
  readonly policies: LimitPolicies;
  /** Unique to this request: it alone may renew or free the chat's lock. */
  readonly lockToken: string;
}

/** Proof of admission, needed to settle. */
export interface Ticket {
  readonly workspaceId: WorkspaceId;
  readonly chatId: ChatId;
  readonly lockToken: string;
  /** Time that this request has waited for the state so far, in milliseconds. */
  readonly waitedMs: number;
}

export type AdmitOutcome =
  /** Every limit was spent once and the chat is locked for this message. */
  | { readonly kind: "admitted"; readonly ticket: Ticket; readonly limits: readonly LimitStatus[] }
  /** A limit refuses; none was spent. */
  | { readonly kind: "limited"; readonly limits: readonly LimitStatus[] }
  /** The session was ended; no limit was spent. */
  | { readonly kind: "revoked"; readonly limits: readonly LimitStatus[] }
  /** Another message is being answered in this chat; no limit was spent. */
  | { readonly kind: "chat_busy"; readonly limits: readonly LimitStatus[] }
  /** The state did not answer in time. Nobody's fault but ours, and never a refusal. */
  | { readonly kind: "unavailable" };

export type SettleOutcome = "settled" | "lost" | "unavailable";

export type FailureCountOutcome =
  | { readonly kind: "counted" }
  | { readonly kind: "limited"; readonly limits: readonly LimitStatus[] }
  | { readonly kind: "unavailable" };

export interface AdmissionState {
  admit(request: AdmitRequest): Promise<AdmitOutcome>;
  /** Frees the chat for its next message. "lost": the lock had fallen to somebody else. */
  settle(ticket: Ticket): Promise<SettleOutcome>;
  /** Extends the chat lock by another lease. "lost" as above. */
  renew(ticket: Ticket): Promise<SettleOutcome>;
  /** Whether a session was ended, for requests that need no admission. */
  checkSession(session: SessionRef): Promise<"valid" | "revoked" | "unavailable">;
  /**
   * Ends one session at once, on every instance.
   *
   * @param forMs how long its credentials could still have lived, in milliseconds
   */
  revokeSession(session: SessionRef, forMs: number): Promise<"done" | "unavailable">;
  /** Ends all sessions of a workspace, or of one subject in it, that were issued before now. */
  cutOff(target: CutOff): Promise<"done" | "unavailable">;
  /** Spends one of the client address's wrong credentials. */
  countAuthFailure(addressKey: string, policy: LimitPolicy): Promise<FailureCountOutcome>;
  /** Whether the state answers in time; for `/readyz`. */
  isReachable(): Promise<boolean>;
}

/** An operator's order that no session issued until now shall be served. */
export interface CutOff {
  readonly workspaceId: WorkspaceId | undefined;
  /** Digest of the subject; undefined for everyone. */
  readonly subjectKey: string | undefined;
  /** How long it stays in force, in milliseconds: longer than any token lives. */
  readonly forMs: number;
}

/** How long a chat stays locked after its sender was last heard of, in microseconds: 15 s. */
export const LOCK_LEASE_US = 15_000_000;
