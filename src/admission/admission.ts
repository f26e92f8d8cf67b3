/**
 * Owns the port between the product and its state: what is asked in one atomic step, and what can
 * come back. It imports no implementation; the in-process one and Redis answer alike.
 *
 * A message makes two round trips: `admit` before it goes upstream and `settle` after. Whatever
 * else has to be decided or remembered per message joins one of the two.
 */
import type { ChatId, WorkspaceId } from "../branded.ts";
import type { LimitPolicies, LimitPolicy, LimitStatus } from "./limit-policy.ts";
import type { TranscriptMark } from "./transcript-mark.ts";

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

/** May this be done now? */
export interface AdmitRequest extends SessionRef {
  readonly workspaceId: WorkspaceId;
  /** Normalised client address; see `resolveClientAddress`. */
  readonly addressKey: string;
  readonly policies: LimitPolicies;
  /** The chat it is about; undefined where one is to be started. */
  readonly chat: ChatUse | undefined;
}

export interface ChatUse {
  readonly chatId: ChatId;
  readonly access: ChatAccess;
  /** The message to be sent; undefined where the chat is only read or ended. */
  readonly message?: MessageRef;
}

/**
 * Whose a chat may be for this session to use it. A chat is owned by a workspace's subject, either
 * since it started the chat or since it was the first to use it.
 *
 * - `open`: anybody's;
 * - `open-claiming`: anybody's, and its own if it is nobody's yet;
 * - `first-use`: its own, which it becomes if it is nobody's yet;
 * - `started`: its own, and started by it.
 */
export type ChatAccess = "open" | "open-claiming" | "first-use" | "started";

/** One attempt to send one message. */
export interface MessageRef {
  /** Unique to this request: it alone may renew or free what is leased to it. No spaces. */
  readonly token: string;
  /** Digest of the content. */
  readonly fingerprint: string;
  /** Digest of the idempotency key with its owner and chat; undefined where there is no key. */
  readonly keyDigest: string | undefined;
}

/** Proof of admission, needed to settle. */
export interface Ticket {
  readonly request: AdmitRequest;
  /** Sends the message; or looks for the answer to one sent before; or neither. */
  readonly role: "sender" | "seeker" | "reader";
  /** Whether the chat is claimed by its subject, and nobody has looked whether it may be. */
  readonly newlyClaimed: boolean;
  /** Number of the chat's last admitted message; none for a reader whose look would prove nothing. */
  readonly sends: number;
  /** How the transcript stood before the message; undefined where nobody knows. */
  readonly mark: TranscriptMark | undefined;
  /**
   * Whether the same words were sent into this chat before and nobody knows what became of them:
   * then nobody can say of a message with these words whose it is.
   */
  readonly contested: boolean;
  /** Time that this request has waited for the state so far, in milliseconds. */
  readonly waitedMs: number;
}

export type AdmitOutcome =
  /** Every limit was spent once; a message's chat is locked and its key taken. */
  | { readonly kind: "admitted"; readonly ticket: Ticket; readonly limits: readonly LimitStatus[] }
  /**
   * An earlier attempt with this key was sent and nobody knows what became of it. Every limit was
   * spent once; the key is leased to this request, which may look but must not send.
   */
  | {
      readonly kind: "unresolved";
      readonly ticket: Ticket;
      /** What the earlier attempt was settled with; undefined when it never was. */
      readonly code: string | undefined;
      readonly limits: readonly LimitStatus[];
    }
  /** The key's message was answered before: the answer as it was settled. No limit was spent. */
  | { readonly kind: "replayed"; readonly answer: string; readonly limits: readonly LimitStatus[] }
  /**
   * The chat is not this session's, for all that the state knows. Every limit was spent once, as if
   * it had been admitted: ids cannot be guessed for free.
   */
  | {
      readonly kind: "denied";
      /** Nobody is known for certain to own it: the state may have lost who does. */
      readonly unowned: boolean;
      readonly limits: readonly LimitStatus[];
    }
  | {
      readonly kind:
        | "limited" // a limit refuses
        | "revoked" // the session was ended
        | "chat_busy" // another message is being answered in this chat
        | "key_in_progress" // another request with this key is under way
        | "key_reused"; // this key came with other content before
      /** Where they stand; none was spent. */
      readonly limits: readonly LimitStatus[];
    }
  /** The state did not answer in time. Nobody's fault but ours, and never a refusal. */
  | { readonly kind: "unavailable" };

/**
 * What became of an admitted request.
 *
 * `claim` confirms a new claim: by first use, or because the chat bears the owner's stamp. Without a
 * word it is given up, and the chat is nobody's again.
 */
export type Settlement = Fate & { readonly claim?: Claim | undefined };

export type Claim = "first-use" | "started";

type Fate =
  /** UponAI answered itself: `answer` is kept for the key. Any text. */
  | {
      readonly fate: "answered";
      readonly answer: string;
      /** How the transcript stands now; undefined where nobody knows. */
      readonly mark: TranscriptMark | undefined;
    }
  /** The answer was found in the transcript: kept only if it can be nobody else's. */
  | { readonly fate: "recovered"; readonly answer: string; readonly mark: TranscriptMark }
  /** The message certainly was not taken: its key may try again. Also for whatever only read. */
  | {
      readonly fate: "not_taken";
      readonly mark: TranscriptMark | undefined;
      /** The chat does not exist: nothing shall be remembered of it. */
      readonly absent?: boolean;
    }
  /** Nobody knows: the key is kept with `code`, a word without spaces, and never sent again. */
  | {
      readonly fate: "unknown";
      readonly code: string;
      /** How the transcript stood before the message. */
      readonly markBefore: TranscriptMark | undefined;
    };

/**
 * "lost": the chat's lock had fallen free or to somebody else. "contested": what was recovered may be
 * the answer to another message with the same words, and was not kept.
 */
export type SettleOutcome = "settled" | "lost" | "contested" | "unavailable";

export type FailureCountOutcome =
  | { readonly kind: "counted" }
  | { readonly kind: "limited"; readonly limits: readonly LimitStatus[] }
  | { readonly kind: "unavailable" };

export interface AdmissionState {
  admit(request: AdmitRequest): Promise<AdmitOutcome>;
  /** Frees the chat for its next message, and remembers what became of this one. */
  settle(ticket: Ticket, settlement: Settlement): Promise<SettleOutcome>;
  /**
   * Extends what is leased to a ticket by another lease.
   *
   * @param markBefore how the transcript stood before the message, where it was learnt since
   */
  renew(ticket: Ticket, markBefore?: TranscriptMark): Promise<"renewed" | "lost" | "unavailable">;
  /** Writes down who started a chat, whoever claims it. "refused": it is somebody else's. */
  own(ownership: Ownership): Promise<"owned" | "refused" | "unavailable">;
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

export interface Ownership {
  readonly workspaceId: WorkspaceId;
  readonly subjectKey: string;
  readonly chatId: ChatId;
  /** Whether the chat bears the owner's stamp: then who was the first to use it yields, too. */
  readonly stamped: boolean;
  /** How its transcript stands; undefined where nobody knows. */
  readonly mark: TranscriptMark | undefined;
}

/** An operator's order that no session issued until now shall be served. */
export interface CutOff {
  readonly workspaceId: WorkspaceId | undefined;
  /** Digest of the subject; undefined for everyone. */
  readonly subjectKey: string | undefined;
  /** How long it stays in force, in milliseconds: longer than any token lives. */
  readonly forMs: number;
}

/**
 * How long a claim stands that nobody has confirmed, in microseconds: 1 h. It is confirmed or given up
 * within the request that makes it, unless that request's instance or the state fails.
 */
export const CLAIM_KEPT_US = 3_600_000_000;

/** How long a chat and a key stay leased after their holder was last heard of, in microseconds: 15 s. */
export const LOCK_LEASE_US = 15_000_000;

/** How long a lock's record outlives its lease, in microseconds: so long it proves who was admitted. */
export const LOCK_KEPT_US = 3_600_000_000;

/** How long an idempotency key is remembered, in microseconds: 24 h. */
export const KEY_KEPT_US = 86_400_000_000;

/**
 * How long a message with an unknown outcome casts doubt on later ones, in microseconds. Longer than
 * its key is remembered from when it was sent, so that the doubt outlives whatever could be mistaken.
 */
export const DOUBT_KEPT_US = 90_000_000_000;
