/**
 * Owns the admission rules in TypeScript, over a key space. `scripts.ts` has the same rules in Lua
 * for Redis; a property test drives both with the same histories and demands the same decisions, so
 * a change here is a change there.
 */
import {
  type ChatAccess,
  CLAIM_KEPT_US,
  DOUBT_KEPT_US,
  KEY_KEPT_US,
  LOCK_KEPT_US,
  LOCK_LEASE_US,
  type MessageRef,
} from "./admission.ts";
import { type KeySpace, rewrite } from "./key-space.ts";
import type { LimitPolicies, LimitPolicy } from "./limit-policy.ts";
import {
  CONTESTED,
  formatLock,
  formatRecord,
  formatTally,
  holdsLock,
  isLeased,
  markerOf,
  NO_SEND,
  parseRecord,
  parseTally,
  type PendingRecord,
} from "./records.ts";
import type { ChatKeys } from "./state-keys.ts";
import { NO_MARK } from "./transcript-mark.ts";

/** What is asked in one step. Every part may be absent. */
export interface Question {
  readonly policies: LimitPolicies;
  /** One key per policy, in the same order. */
  readonly limitKeys: readonly string[];
  readonly session?: {
    /** Keys of the session's end, its subject's cut-off and everyone's. */
    readonly keys: readonly [string, string, string];
    /** Milliseconds since the epoch; 0 where the token does not say. */
    readonly issuedAtMs: number;
  };
  readonly chat?: {
    readonly keys: ChatKeys;
    readonly access: ChatAccess;
    readonly subjectKey: string;
    /** How long a chat stays its owner's after its last use, in microseconds. */
    readonly ownerTtlUs: number;
    readonly message?: MessageRef;
  };
}

type Chat = NonNullable<Question["chat"]>;

export type Verdict =
  | "admitted"
  | "limited"
  | "chat_busy"
  | "revoked"
  | "denied"
  | "replayed"
  | "key_reused"
  | "key_in_progress"
  | "unresolved";

export interface Decision {
  readonly verdict: Verdict;
  /** One TAT per policy, as the decision left it; never before now. */
  readonly tatsUs: readonly number[];
  /** What else there is to say, by verdict; `outcome.ts` reads it. */
  readonly detail: string;
}

/** Decides one admission: revocation, stored answer, limits, chat access, key, chat lock. */
export function decideAdmission(space: KeySpace, nowUs: number, question: Question): Decision {
  const { policies, limitKeys, session, chat } = question;
  const readNumber = (key: string) => Number(space.read(key)?.text ?? 0);
  const tatsUs = policies.map((policy, index) =>
    clampTat(readNumber(limitKeys[index] ?? ""), nowUs, policy),
  );
  const spentUs = policies.map((policy, index) => (tatsUs[index] ?? nowUs) + policy.intervalUs);
  const refuse = (verdict: Verdict, detail = ""): Decision => ({ verdict, tatsUs, detail });
  const spend = (verdict: Verdict, detail: string): Decision => {
    for (const [index, key] of limitKeys.entries()) {
      const tatUs = spentUs[index] ?? nowUs;
      space.write(key, String(tatUs), tatUs);
    }
    return { verdict, tatsUs: spentUs, detail };
  };

  if (session !== undefined) {
    const [sessionKey, ...cutOffKeys] = session.keys;
    const ended = readNumber(sessionKey) > nowUs;
    const cutOff = cutOffKeys.some((key) => readNumber(key) > session.issuedAtMs);
    if (ended || cutOff) return refuse("revoked");
  }
  const limited = policies.some(
    (policy, index) => (spentUs[index] ?? nowUs) - nowUs > policy.toleranceUs,
  );
  if (chat === undefined) return limited ? refuse("limited") : spend("admitted", "");

  const access = checkAccess(space, chat);
  const record = readRecord(space, chat);
  // A chat that is not this session's has no answers for it either.
  if (record !== undefined && access.allowed) {
    if (record.fingerprint !== chat.message?.fingerprint) return refuse("key_reused");
    if (record.kind === "finished") return refuse("replayed", record.answer);
  }
  if (limited) return refuse("limited");
  if (!access.allowed) return spend("denied", access.certain ? "owned" : "unowned");
  if (record?.kind === "pending") {
    if (isLeased(record.leaseEndUs, nowUs)) return refuse("key_in_progress");
    keepOwner(space, nowUs, chat, access);
    return spend("unresolved", seek(space, nowUs, chat, record));
  }
  const lock = space.read(chat.keys.lock)?.text;
  if (chat.message !== undefined && holdsLock(lock, nowUs)) return refuse("chat_busy");
  keepOwner(space, nowUs, chat, access);
  const noted =
    chat.message === undefined
      ? describeTally(space, nowUs, chat)
      : beginMessage(space, nowUs, chat, chat.message);
  return spend("admitted", `${access.claims ? "1" : "0"} ${noted}`);
}

/**
 * A TAT before now is a limit that is full; one beyond the tolerance was written under another limit
 * or another clock, and must lock nobody out for longer than this limit can.
 */
function clampTat(tatUs: number, nowUs: number, { toleranceUs }: LimitPolicy): number {
  return Math.min(Math.max(tatUs, nowUs), nowUs + toleranceUs);
}

interface Access {
  readonly allowed: boolean;
  /** Whether it has an owner, and more than a claim. */
  readonly certain: boolean;
  /** Whether this use claims it. */
  readonly claims: boolean;
  /** What to write so that it stays the session's own; undefined where it is not. */
  readonly kept: string | undefined;
}

function checkAccess(space: KeySpace, { keys, access, subjectKey }: Chat): Access {
  const text = space.read(keys.owner)?.text;
  const own = text?.slice(2) === subjectKey;
  const certain = text !== undefined && !text.startsWith("c");
  const claiming = access === "first-use" || access === "open-claiming";
  const claims = claiming && (text === undefined || (own && !certain));
  const allowed =
    access === "open" ||
    access === "open-claiming" ||
    (access === "first-use" && (own || text === undefined)) ||
    (access === "started" && own && text.startsWith("s"));
  return { allowed, certain, claims, kept: own && certain ? text : undefined };
}

function keepOwner(space: KeySpace, nowUs: number, chat: Chat, { claims, kept }: Access): void {
  const { keys, subjectKey, ownerTtlUs } = chat;
  // Others are kept out at once; whether it may be is found out before anything is told of it.
  if (claims) space.write(keys.owner, `c ${subjectKey}`, nowUs + CLAIM_KEPT_US);
  else if (kept !== undefined) space.write(keys.owner, kept, nowUs + ownerTtlUs);
}

function readRecord(space: KeySpace, { keys }: Chat) {
  return keys.record === undefined ? undefined : parseRecord(space.read(keys.record)?.text);
}

/** Leases the key of an attempt that nobody works on any more to one who may look for its answer. */
function seek(space: KeySpace, nowUs: number, chat: Chat, record: PendingRecord): string {
  const { keys, message } = chat;
  if (message === undefined || keys.record === undefined) return "";
  const leased = { ...record, holder: message.token, leaseEndUs: nowUs + LOCK_LEASE_US };
  rewrite(space, keys.record, formatRecord(leased), nowUs + KEY_KEPT_US);
  // Somebody sent the same words since: an answer to them may be to the others.
  const sole = space.read(keys.doubt)?.text === message.keyDigest;
  return `${sole ? record.mark : NO_MARK} ${record.code}`;
}

/** How the transcript stands as far as it is known, for one who only reads. */
function describeTally(space: KeySpace, nowUs: number, { keys }: Chat): string {
  const { sends, mark, doubtfulUntilUs } = parseTally(space.read(keys.tally)?.text);
  // What is read while a message is under way may be older than the message, and proves nothing.
  const known = mark !== "*" && doubtfulUntilUs <= nowUs;
  return known ? `${sends} ${mark} 0` : `${NO_SEND} ${NO_MARK} 0`;
}

/** Locks the chat, takes the key, and notes that the transcript is about to change. */
function beginMessage(space: KeySpace, nowUs: number, chat: Chat, message: MessageRef): string {
  const { keys, ownerTtlUs } = chat;
  const { token, fingerprint } = message;
  space.write(keys.lock, formatLock(token, nowUs + LOCK_LEASE_US), nowUs + LOCK_KEPT_US);

  const tally = parseTally(space.read(keys.tally)?.text);
  // The message before was never settled: it may still arrive.
  const crashed = tally.mark === "*";
  const doubtfulUntilUs = crashed ? nowUs + DOUBT_KEPT_US : tally.doubtfulUntilUs;
  const sends = tally.sends + 1;
  const open = formatTally({ sends, mark: "*", doubtfulUntilUs });
  space.write(keys.tally, open, nowUs + ownerTtlUs);

  const contested = space.read(keys.doubt) !== undefined;
  const marker = contested ? CONTESTED : markerOf(message);
  rewrite(space, keys.doubt, marker, nowUs + DOUBT_KEPT_US);

  const mark = contested || doubtfulUntilUs > nowUs ? NO_MARK : tally.mark;
  if (keys.record !== undefined) {
    const leaseEndUs = nowUs + LOCK_LEASE_US;
    const pending = { fingerprint, attempt: token, holder: token, leaseEndUs, mark, code: "-" };
    space.write(keys.record, formatRecord({ kind: "pending", ...pending }), nowUs + KEY_KEPT_US);
  }
  return `${sends} ${mark} ${contested ? "1" : "0"}`;
}
