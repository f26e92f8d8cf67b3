/**
 * The texts that the state keeps: how each record is written and read. `lua/records.ts` writes and
 * reads the same in Lua; `docs/state-keys.md` describes them.
 */
import { LOCK_LEASE_US, type MessageRef, type TranscriptState } from "./admission.ts";

/** Stands for a missing text. No token, digest or subject is this short. */
export const NONE = "-";

/** Text of an unknown transcript state. */
export const NO_STATE = "-";

/** Message id of several messages with the same words, whose answers cannot be told apart. */
export const CONTESTED = "*";

/** In place of the number of a chat's last message, for a reader that reads while a message is under way. */
export const NO_SEND = -1;

/** Unresolved messages that are kept apart; past it all words of the chat count as contested. */
export const UNRESOLVED_MAX = 8;

/** Whole numbers by slot; each but a cut-off is a time in microseconds since the epoch. */
export type Counters = number[];

/** Slots of `u:<subject>`. */
export const SUBJECT_SLOT = {
  cutOffMs: 0,
  cutOffEndUs: 1,
  stored: 2,
  session: 3,
  sessionDaily: 4,
  replays: 5,
  replayedKib: 6,
} as const;

/** Slots of `w2`; the first three are those of a subject. */
export const WORKSPACE_SLOT = { cutOffMs: 0, cutOffEndUs: 1, stored: 2, workspace: 3 } as const;

/** The one slot of `a:<address>` and `af:<address>`. */
export const ADDRESS_SLOT = 0;

/** Writes counters. */
export function formatCounters(counters: Counters): string {
  return counters.join(" ");
}

/** Reads counters; a slot that was never written is missing and counts as 0. */
export function parseCounters(text: string | undefined): Counters {
  return text === undefined ? [] : text.split(" ").map(Number);
}

/** Writes a transcript state as one word. */
export function formatState(state: TranscriptState | undefined): string {
  return state === undefined ? NO_STATE : `${state.count}:${state.digest}`;
}

/** Reads a transcript state; undefined for anything else. */
export function parseState(text: string | undefined): TranscriptState | undefined {
  const [, count, digest] = /^(\d+):(\S+)$/.exec(text ?? "") ?? [];
  return count === undefined || digest === undefined ? undefined : { count: Number(count), digest };
}

/** Letters of the kinds of owners: started, first use, provisional. */
export type OwnerLetter = "s" | "f" | "p";

export interface Owner {
  readonly kind: OwnerLetter;
  readonly subjectKey: string;
  readonly endUs: number;
  /** Requests under way that a provisional owner has; 1 for other kinds. */
  readonly uses: number;
}

/** The running message, or one whose sender stopped renewing the lease. */
export interface Running {
  readonly token: string;
  readonly leaseEndUs: number;
  readonly fingerprint: string;
  /** Its message id; `*` where it is contested. */
  readonly messageId: string;
}

/** A message whose outcome is unknown: it may still arrive, out of turn. */
export interface Unresolved {
  readonly fingerprint: string;
  /** Its message id; `*` once the same words were sent again. */
  readonly messageId: string;
  readonly untilUs: number;
}

/** The record of one chat. */
export interface ChatRecord {
  owner: Owner | undefined;
  /** Admitted messages, less those that were certainly not taken. */
  sends: number;
  /** Transcript state before the running message, else now; `-` unknown. */
  state: string;
  /** Until then an earlier message may still change the transcript; 0: none may. */
  doubtfulUntilUs: number;
  /** Until then all words count as contested: there were too many unresolved messages. */
  contestedUntilUs: number;
  running: Running | undefined;
  unresolved: readonly Unresolved[];
}

/** Writes a chat's record. */
export function formatChat(chat: ChatRecord): string {
  const { owner, sends, state, doubtfulUntilUs, contestedUntilUs, running, unresolved } = chat;
  return [
    ...(owner === undefined
      ? [NONE, NONE, 0]
      : [`${owner.kind}${owner.uses > 1 ? owner.uses : ""}`, owner.subjectKey, owner.endUs]),
    sends,
    state,
    doubtfulUntilUs,
    contestedUntilUs,
    ...(running === undefined
      ? [NONE, 0, NONE, NONE]
      : [running.token, running.leaseEndUs, running.fingerprint, running.messageId]),
    ...unresolved.flatMap(({ fingerprint, messageId, untilUs }) => [
      fingerprint,
      messageId,
      untilUs,
    ]),
  ].join(" ");
}

/** Fields before the list of unresolved messages. */
const FIXED_FIELDS = 11;

/** Reads a chat's record without what has ended; an empty one where there is none. */
export function parseChat(text: string | undefined, nowUs: number): ChatRecord {
  const fields = (text ?? "").split(" ");
  const [kindText = NONE, subjectKey = NONE, ownerEnd, sends, state, doubtful, contested] = fields;
  const [token = NONE, leaseEnd, words = NONE, id = NONE] = fields.slice(7, FIXED_FIELDS);
  const unresolved: Unresolved[] = [];
  for (let at = FIXED_FIELDS; at + 2 < fields.length; at += 3) {
    const [fingerprint = NONE, messageId = NONE, until] = fields.slice(at, at + 3);
    if (Number(until) > nowUs) unresolved.push({ fingerprint, messageId, untilUs: Number(until) });
  }
  const kind = kindText.slice(0, 1);
  const uses = Number(kindText.slice(1)) || 1;
  const owned = (kind === "s" || kind === "f" || kind === "p") && Number(ownerEnd) > nowUs;
  return {
    owner: owned ? { kind, subjectKey, endUs: Number(ownerEnd), uses } : undefined,
    sends: Number(sends ?? 0),
    state: state ?? NO_STATE,
    doubtfulUntilUs: Number(doubtful ?? 0),
    contestedUntilUs: Number(contested ?? 0),
    running:
      token === NONE
        ? undefined
        : { token, leaseEndUs: Number(leaseEnd), fingerprint: words, messageId: id },
    unresolved,
  };
}

/** The id by which a message is known while its outcome is unknown. */
export function messageIdOf({ keyDigest, token }: MessageRef): string {
  return keyDigest ?? token;
}

/**
 * Whether a lease runs. One that ends much later than a lease can was written before the clock was set
 * back, and does not count. Up to twice the lease counts: its holder may have renewed it just now.
 */
export function isLeased(leaseEndUs: number, nowUs: number): boolean {
  return leaseEndUs > nowUs && leaseEndUs <= nowUs + 2 * LOCK_LEASE_US;
}

/** A key whose message is under way, has an unknown outcome, or has an answer that is not stored. */
export interface OpenRecord {
  /** `answered`: UponAI answered it, and only the transcript has the answer. */
  readonly kind: "pending" | "answered";
  readonly fingerprint: string;
  /** Token of the request that sent the message: only it knows what UponAI answered. */
  readonly attempt: string;
  /** Token of the request that works on it now. */
  readonly holder: string;
  /** End of its lease, in microseconds since the epoch; 0 without a lease. */
  readonly leaseEndUs: number;
  /** Transcript state before the message. */
  readonly state: string;
  /** What it was settled with, `-` when it was not. */
  readonly code: string;
}

export interface FinishedRecord {
  readonly kind: "finished";
  readonly fingerprint: string;
  /** Any text. */
  readonly answer: string;
}

export type KeyRecord = OpenRecord | FinishedRecord;

/** Writes a key's record. */
export function formatKey(record: KeyRecord): string {
  if (record.kind === "finished") return `f ${record.fingerprint} ${record.answer}`;
  const { kind, fingerprint, attempt, holder, leaseEndUs, state, code } = record;
  const letter = kind === "pending" ? "p" : "a";
  return `${letter} ${fingerprint} ${attempt} ${holder} ${leaseEndUs} ${state} ${code}`;
}

/** Reads a key's record; undefined where there is none. */
export function parseKey(text: string | undefined): KeyRecord | undefined {
  if (text === undefined) return undefined;
  const fingerprintEnd = text.indexOf(" ", 2);
  const fingerprint = text.slice(2, fingerprintEnd);
  const rest = text.slice(fingerprintEnd + 1);
  if (text.startsWith("f ")) return { kind: "finished", fingerprint, answer: rest };
  const [attempt = "", holder = "", leaseEnd, state = NO_STATE, code = NONE] = rest.split(" ");
  return {
    kind: text.startsWith("a ") ? "answered" : "pending",
    fingerprint,
    attempt,
    holder,
    leaseEndUs: Number(leaseEnd ?? 0),
    state,
    code,
  };
}
