/**
 * Port between the product and its state: what is asked in one atomic step, and what can come back.
 * It imports no implementation; the in-process one, Durable Objects and Redis answer alike.
 *
 * A message makes two round trips: `admit` before it goes upstream and `settle` after. Every
 * other decision or record of a message is part of one of the two.
 */
import type { ChatId, WorkspaceId } from "../branded.ts";
import type { LimitPolicies, LimitPolicy, LimitStatus, ReplayPolicies } from "./limit-policy.ts";

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

/** Asks whether a request may run now. */
export interface AdmitRequest extends SessionRef {
  readonly workspaceId: WorkspaceId;
  /** Normalised client address; see `resolveClientAddress`. */
  readonly addressKey: string;
  readonly policies: LimitPolicies;
  /** Limit on stored answers given again; undefined: off. */
  readonly replays: ReplayPolicies | undefined;
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
 * Which owner a chat may have for this session to use it. A chat is owned by a workspace's subject,
 * either since it started the chat or since it was the first to use it.
 *
 * - `open`: any owner or none;
 * - `open-first-use`: any owner or none; a chat without an owner becomes the session's own;
 * - `first-use`: the session's own chat, or one without an owner, which becomes its own;
 * - `started`: the session's own chat, started by it.
 */
export type ChatAccess = "open" | "open-first-use" | "first-use" | "started";

/** One attempt to send one message. */
export interface MessageRef {
  /** Unique to this request: it alone may renew or free what is leased to it. No spaces. */
  readonly token: string;
  /** Digest of the content. */
  readonly fingerprint: string;
  /** Digest of the idempotency key with its owner and chat; undefined where there is no key. */
  readonly keyDigest: string | undefined;
}

/** An admitted request; needed to settle it. */
export interface Admission {
  readonly request: AdmitRequest;
  /** Sends the message; or looks for the answer to one sent before; or only reads or ends the chat. */
  readonly role: "sender" | "recoverer" | "reader";
  /** Whether the chat is the subject's only until UponAI has proven that it exists. */
  readonly provisionalOwner: boolean;
  /** Number of the chat's last admitted message; none for a reader that reads while a message is under way. */
  readonly sends: number;
  /** Transcript state before the message; undefined where it is unknown. */
  readonly transcriptState: TranscriptState | undefined;
  /**
   * Whether the same words were sent into this chat before with an unknown outcome: then a message
   * with these words in the transcript may be either.
   */
  readonly contested: boolean;
  /** Whether the byte budgets have room for the answer. */
  readonly storable: boolean;
  /** Time that this request has waited for the state so far, in milliseconds. */
  readonly waitedMs: number;
}

export type AdmitOutcome =
  /** Every limit was spent once; a message's chat is locked and its key taken. */
  | {
      readonly kind: "admitted";
      readonly admission: Admission;
      readonly limits: readonly LimitStatus[];
    }
  /**
   * An earlier attempt with this key was sent, and its answer is not stored. Every limit was spent
   * once; the key is leased to this request, which may look for the answer but must not send.
   */
  | {
      readonly kind: "unresolved";
      readonly admission: Admission;
      /** What the earlier attempt was settled with; undefined when it never was. */
      readonly code: string | undefined;
      readonly limits: readonly LimitStatus[];
    }
  /** The key's message was answered before: the answer as it was settled. Only replays are spent. */
  | { readonly kind: "replayed"; readonly answer: string; readonly limits: readonly LimitStatus[] }
  /**
   * The chat is not this session's, for all that the state knows. Every limit was spent once, as if
   * it had been admitted: ids cannot be guessed for free.
   */
  | {
      readonly kind: "denied";
      /** The chat has no confirmed owner: the state may have lost who it is. */
      readonly unowned: boolean;
      readonly limits: readonly LimitStatus[];
    }
  | {
      readonly kind:
        | "limited" // a limit refuses, or the limit on replays (then `limits` has it alone)
        | "revoked" // the session was ended
        | "chat_busy" // another message is being answered in this chat
        | "key_in_progress" // another request with this key is under way
        | "key_reused"; // this key came with other content before
      /** Where they stand; none was spent. */
      readonly limits: readonly LimitStatus[];
    }
  /** The state did not answer in time. It is a fault of the service, never a refusal. */
  | { readonly kind: "unavailable" };

/**
 * What became of an admitted request.
 *
 * `owner` confirms a provisional owner: by first use, or because the chat bears the owner's stamp.
 * Without it the provisional owner is dropped, and the chat has no owner again.
 */
export type Settlement = Disposition & { readonly owner?: OwnerKind | undefined };

/** How a subject came to own a chat. */
export type OwnerKind = "first-use" | "started";

type Disposition =
  /** UponAI took and answered the message: `answer` is stored for the key. Any text. */
  | {
      readonly disposition: "taken";
      /** `transcript`: the answer was recovered, and is stored only if no other message can own it. */
      readonly source: "reply" | "transcript";
      readonly answer: string;
      /** Transcript state before the message; undefined where it is unknown. */
      readonly stateBefore: TranscriptState | undefined;
      /** Transcript state now; undefined where it is unknown. */
      readonly stateAfter: TranscriptState | undefined;
    }
  /** The message was certainly not taken, so that its key may try again. Also for reads and ends. */
  | {
      readonly disposition: "not_taken";
      readonly stateAfter: TranscriptState | undefined;
    }
  /** Not known: the key is kept with `code`, a word without spaces, and never sent again. */
  | {
      readonly disposition: "unknown";
      readonly code: string;
      /** Transcript state before the message; undefined where it is unknown. */
      readonly stateBefore: TranscriptState | undefined;
    };

/**
 * "lost": the chat's lock had run out or was taken over. "contested": what was recovered may be the
 * answer to another message with the same words, and was not stored. "foreign": the settlement was to
 * confirm an owner, but another subject owns the chat by now.
 */
export type SettleOutcome = "settled" | "lost" | "contested" | "foreign" | "unavailable";

export type FailureCountOutcome =
  | { readonly kind: "counted" }
  | { readonly kind: "limited"; readonly limits: readonly LimitStatus[] }
  | { readonly kind: "unavailable" };

export interface AdmissionState {
  admit(request: AdmitRequest): Promise<AdmitOutcome>;
  /** Frees the chat for its next message, and stores the outcome of this one. */
  settle(admission: Admission, settlement: Settlement): Promise<SettleOutcome>;
  /**
   * Extends what is leased to an admission by another lease.
   *
   * @param stateBefore transcript state before the message, where it was learnt since
   */
  renew(
    admission: Admission,
    stateBefore?: TranscriptState,
  ): Promise<"renewed" | "lost" | "unavailable">;
  /** Stores the subject that started a chat. "refused": another subject owns the chat. */
  own(ownership: Ownership): Promise<"owned" | "refused" | "unavailable">;
  /** Whether a session was ended, for requests that need no admission. */
  checkSession(session: SessionRef): Promise<"valid" | "revoked" | "unavailable">;
  /**
   * Whether one session was ended by itself, and stays so for long enough; a cut-off does not count.
   *
   * @param forMs how long it has to stay ended, in milliseconds
   */
  isEnded(session: SessionRef, forMs: number): Promise<"ended" | "not_ended" | "unavailable">;
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

/**
 * Transcript state of a chat as the state keeps it: enough to find the message that was sent next,
 * and to notice that a transcript is not the one that was counted.
 */
export interface TranscriptState {
  /** Messages in the transcript. */
  readonly count: number;
  /** Digest of all of them, `none` when there is none; neither space nor colon. */
  readonly digest: string;
}

export interface Ownership {
  readonly workspaceId: WorkspaceId;
  readonly subjectKey: string;
  readonly chatId: ChatId;
  /** Whether the chat bears the owner's stamp: then an owner by first use yields, too. */
  readonly stamped: boolean;
  /** Its transcript state; undefined where it is unknown. */
  readonly transcriptState: TranscriptState | undefined;
}

/**
 * How far ahead of now a cut-off reaches, in milliseconds: 30 s. A token may be issued by a clock that
 * is so far ahead and is accepted all the same; the cut-off must end it, too.
 */
export const CUT_OFF_AHEAD_MS = 30_000;

/** An operator's order to refuse all sessions that were issued until now. */
export interface CutOff {
  readonly workspaceId: WorkspaceId | undefined;
  /** Digest of the subject; undefined for everyone. */
  readonly subjectKey: string | undefined;
  /** How long it stays in force, in milliseconds: longer than any token lives. */
  readonly forMs: number;
}

/** How long the lease of a chat and of a key lasts after its last renewal, in microseconds: 15 s. */
export const LOCK_LEASE_US = 15_000_000;

/** How long an idempotency key is remembered, in microseconds: 24 h. */
export const KEY_KEPT_US = 86_400_000_000;

/**
 * How long a message with an unknown outcome stays unresolved, in microseconds: 25 h. It is longer than
 * the key of the message is stored, so that no later answer is mistaken for this message's.
 */
export const UNRESOLVED_KEPT_US = 90_000_000_000;
