/**
 * Owns the texts that the rules keep: how each is written and read. The Lua scripts write and read
 * the same; `docs/state-keys.md` describes them.
 */
import { LOCK_LEASE_US, type MessageRef } from "./admission.ts";
import { NO_MARK } from "./transcript-mark.ts";

/** Several messages with the same words have an unknown outcome, or one has and more followed. */
export const CONTESTED = "*";

/** In place of the number of a chat's last message, for a reader who must not note what it sees. */
export const NO_SEND = -1;

/** What stands for a message where there is doubt about it. */
export function markerOf({ keyDigest, token }: MessageRef): string {
  return keyDigest ?? token;
}

export function formatLock(token: string, leaseEndUs: number): string {
  return `${token} ${leaseEndUs}`;
}

/** Whether a lock is held: an expired lease is nobody's. */
export function holdsLock(text: string | undefined, nowUs: number): boolean {
  return text !== undefined && isLeased(leaseEndOf(text), nowUs);
}

/**
 * One that ends much later than a lease can was written before the clock was set back, and must lock
 * nobody out. Up to another lease is let pass: a holder that renews is there.
 */
export function isLeased(leaseEndUs: number, nowUs: number): boolean {
  return leaseEndUs > nowUs && leaseEndUs <= nowUs + 2 * LOCK_LEASE_US;
}

export function isLockOf(text: string | undefined, token: string): boolean {
  return text?.startsWith(`${token} `) === true;
}

function leaseEndOf(lockText: string): number {
  return Number(lockText.slice(lockText.indexOf(" ") + 1));
}

export interface Tally {
  /** Messages let into the chat. */
  readonly sends: number;
  /** How the transcript stands: a mark, `-` unknown, `*` a message is under way. */
  readonly mark: string;
  /** Until then an earlier message may still change the transcript; 0: none may. */
  readonly doubtfulUntilUs: number;
}

export function formatTally({ sends, mark, doubtfulUntilUs }: Tally): string {
  return `${sends} ${mark} ${doubtfulUntilUs}`;
}

export function parseTally(text: string | undefined): Tally {
  const [sends = "0", mark = NO_MARK, until = "0"] = (text ?? "").split(" ");
  if (sends === "") return { sends: 0, mark: NO_MARK, doubtfulUntilUs: 0 };
  return { sends: Number(sends), mark, doubtfulUntilUs: Number(until) };
}

/** A key whose message is under way, or whose outcome nobody knows. */
export interface PendingRecord {
  readonly kind: "pending";
  readonly fingerprint: string;
  /** Token of the request that sent the message: only its word is first-hand. */
  readonly attempt: string;
  /** Token of the request that works on it now. */
  readonly holder: string;
  /** 0 once nobody does. */
  readonly leaseEndUs: number;
  /** How the transcript stood before the message. */
  readonly mark: string;
  /** What it was settled with, `-` when it was not. */
  readonly code: string;
}

export interface FinishedRecord {
  readonly kind: "finished";
  readonly fingerprint: string;
  /** Any text. */
  readonly answer: string;
}

export function formatRecord(record: PendingRecord | FinishedRecord): string {
  if (record.kind === "finished") return `f ${record.fingerprint} ${record.answer}`;
  const { fingerprint, attempt, holder, leaseEndUs, mark, code } = record;
  return `p ${fingerprint} ${attempt} ${holder} ${leaseEndUs} ${mark} ${code}`;
}

export function parseRecord(text: string | undefined): PendingRecord | FinishedRecord | undefined {
  if (text === undefined) return undefined;
  const fingerprintEnd = text.indexOf(" ", 2);
  const fingerprint = text.slice(2, fingerprintEnd);
  if (text.startsWith("f ")) {
    return { kind: "finished", fingerprint, answer: text.slice(fingerprintEnd + 1) };
  }
  const [attempt = "", holder = "", leaseEnd, mark = NO_MARK, code = "-"] = text
    .slice(fingerprintEnd + 1)
    .split(" ");
  return {
    kind: "pending",
    fingerprint,
    attempt,
    holder,
    leaseEndUs: Number(leaseEnd ?? 0),
    mark,
    code,
  };
}
