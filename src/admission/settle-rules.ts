/**
 * Owns what happens after admission, in TypeScript over a key space: settling, renewing, owning.
 * `settle-scripts.ts` has the same rules in Lua; the same property test drives both.
 */
import {
  type Claim,
  DOUBT_KEPT_US,
  KEY_KEPT_US,
  LOCK_KEPT_US,
  LOCK_LEASE_US,
  type MessageRef,
  type Settlement,
} from "./admission.ts";
import { type KeySpace, rewrite } from "./key-space.ts";
import {
  formatLock,
  formatRecord,
  formatTally,
  holdsLock,
  isLockOf,
  markerOf,
  parseRecord,
  parseTally,
  type PendingRecord,
} from "./records.ts";
import type { ChatKeys } from "./state-keys.ts";
import { formatMark, NO_MARK } from "./transcript-mark.ts";

/** An admitted request, as the rules need it. */
export interface Admitted {
  readonly keys: ChatKeys;
  readonly role: "sender" | "seeker" | "reader";
  readonly subjectKey: string;
  readonly sends: number;
  readonly ownerTtlUs: number;
  /** Undefined for a reader. */
  readonly message: MessageRef | undefined;
}

export type Settled = "settled" | "lost" | "contested";

export function settleAdmitted(
  space: KeySpace,
  nowUs: number,
  admitted: Admitted,
  settlement: Settlement,
): Settled {
  const { keys, message, role } = admitted;
  if (message !== undefined && role === "seeker") {
    return settleSeeking(space, nowUs, keys, message, settlement);
  }
  if (message === undefined || role === "reader") {
    const { mark } = parseTally(space.read(keys.tally)?.text);
    // A message under way settles the claim itself: somebody else must not have the chat meanwhile.
    if (settlement.claim !== undefined || mark !== "*") {
      settleClaim(space, nowUs, admitted, settlement.claim);
    }
    return settleReading(space, nowUs, admitted, settlement);
  }
  settleClaim(space, nowUs, admitted, settlement.claim);
  return settleSending(space, nowUs, admitted, message, settlement);
}

/** Confirms a claim, or gives it up. A stamp is proof; a first use yields to whoever came before. */
function settleClaim(
  space: KeySpace,
  nowUs: number,
  { keys, subjectKey, ownerTtlUs }: Admitted,
  claim: Claim | undefined,
): void {
  const owner = space.read(keys.owner)?.text;
  const claimed = owner === `c ${subjectKey}`;
  const expiresAtUs = nowUs + ownerTtlUs;
  if (claim === "started") {
    if (owner?.startsWith("s") !== true) space.write(keys.owner, `s ${subjectKey}`, expiresAtUs);
  } else if (claim === "first-use") {
    if (claimed || owner === undefined) space.write(keys.owner, `f ${subjectKey}`, expiresAtUs);
  } else if (claimed) {
    space.delete(keys.owner);
  }
}

/** Notes what a reader saw of the transcript, unless a message has been let in since. */
function settleReading(
  space: KeySpace,
  nowUs: number,
  admitted: Admitted,
  settlement: Settlement,
): Settled {
  const { keys, sends, ownerTtlUs } = admitted;
  if (settlement.fate === "unknown" || settlement.mark === undefined) return "settled";
  const tally = parseTally(space.read(keys.tally)?.text);
  if (tally.sends !== sends || tally.mark === "*") return "settled";
  const text = formatTally({ ...tally, mark: formatMark(settlement.mark) });
  space.write(keys.tally, text, nowUs + ownerTtlUs);
  return "settled";
}

function settleSeeking(
  space: KeySpace,
  nowUs: number,
  keys: ChatKeys,
  message: MessageRef,
  settlement: Settlement,
): Settled {
  const record = readPending(space, keys);
  if (record?.holder !== message.token) return "contested";
  const sole = space.read(keys.doubt)?.text === message.keyDigest;
  if (settlement.fate === "recovered" && sole) {
    space.delete(keys.doubt);
    finishRecord(space, nowUs, keys, message, settlement.answer);
    return "settled";
  }
  writeRecord(space, nowUs, keys, { ...record, leaseEndUs: 0 });
  return settlement.fate === "recovered" ? "contested" : "settled";
}

function settleSending(
  space: KeySpace,
  nowUs: number,
  admitted: Admitted,
  message: MessageRef,
  settlement: Settlement,
): Settled {
  const { keys } = admitted;
  const lock = space.read(keys.lock)?.text;
  const mine = isLockOf(lock, message.token);
  const sole = space.read(keys.doubt)?.text === markerOf(message);
  const contested = settlement.fate === "recovered" && !(mine && sole);
  const fate = contested ? "unknown" : settlement.fate;
  if (fate !== "unknown" && sole) space.delete(keys.doubt);
  if (mine) space.delete(keys.lock);
  closeTally(space, nowUs, admitted, settlement, { mine, over: fate !== "unknown" });

  const record = readPending(space, keys) ?? recallRecord(space, admitted, message);
  if (record?.attempt === message.token) {
    if (settlement.fate === "not_taken") {
      if (keys.record !== undefined) space.delete(keys.record);
    } else if (settlement.fate !== "unknown" && !contested) {
      finishRecord(space, nowUs, keys, message, settlement.answer);
    } else if (record.holder === message.token) {
      const code = settlement.fate === "unknown" ? settlement.code : record.code;
      const known = settlement.fate === "unknown" ? settlement.markBefore : undefined;
      const mark = known === undefined ? record.mark : formatMark(known);
      writeRecord(space, nowUs, keys, { ...record, leaseEndUs: 0, mark, code });
    }
  }
  if (contested) return "contested";
  return mine && holdsLock(lock, nowUs) ? "settled" : "lost";
}

/** The record of a message that the state has lost meanwhile, as the one who sends it knows it. */
function recallRecord(
  space: KeySpace,
  { keys }: Pick<Admitted, "keys">,
  { token, fingerprint }: MessageRef,
): PendingRecord | undefined {
  if (keys.record === undefined || space.read(keys.record) !== undefined) return undefined;
  const leased = { attempt: token, holder: token, leaseEndUs: 0 };
  return { kind: "pending", fingerprint, ...leased, mark: NO_MARK, code: "-" };
}

/** Notes how the transcript stands after a message; `over` when it cannot change it any more. */
function closeTally(
  space: KeySpace,
  nowUs: number,
  { keys, sends, ownerTtlUs }: Admitted,
  settlement: Settlement,
  { mine, over }: { readonly mine: boolean; readonly over: boolean },
): void {
  const text = space.read(keys.tally)?.text;
  const tally = parseTally(text);
  // Nothing else can have changed the transcript.
  const clear = mine && over;
  const absent = settlement.fate === "not_taken" && settlement.absent === true;
  if (absent && (text === undefined || (clear && tally.sends === 1))) {
    space.delete(keys.tally);
    return;
  }
  // Told twice, over a connection that broke; or the state had lost it, and has counted another since.
  // Nothing is under way in either case, but only a look can tell how the transcript stands.
  const again = over && !mine && tally.sends === sends && tally.mark !== "*";
  // Out of turn: somebody else was let in meanwhile, and must not rely on what it was told.
  const overtaken = tally.sends > sends;
  const known = clear && tally.sends === sends && tally.doubtfulUntilUs <= nowUs;
  const next = {
    sends: Math.max(tally.sends, sends),
    mark: known && "mark" in settlement ? formatMark(settlement.mark) : NO_MARK,
    doubtfulUntilUs: clear || again ? tally.doubtfulUntilUs : nowUs + DOUBT_KEPT_US,
  };
  if (overtaken && tally.mark === "*") next.mark = "*";
  space.write(keys.tally, formatTally(next), nowUs + ownerTtlUs);
}

/** Extends a lease, and takes the chat anew where its lock was lost; but never somebody else's. */
export function renewAdmitted(
  space: KeySpace,
  nowUs: number,
  { keys, role, message }: Admitted,
  markBefore: string,
): boolean {
  if (message === undefined) return false;
  const leaseEndUs = nowUs + LOCK_LEASE_US;
  const recalled = role === "sender" ? recallRecord(space, { keys }, message) : undefined;
  const record = readPending(space, keys) ?? recalled;
  const holds = record?.holder === message.token;
  if (holds) {
    const mark = markBefore === NO_MARK ? record.mark : markBefore;
    writeRecord(space, nowUs, keys, { ...record, leaseEndUs, mark });
  }
  if (role === "seeker") return holds;
  const lock = space.read(keys.lock)?.text;
  if (!isLockOf(lock, message.token) && holdsLock(lock, nowUs)) return false;
  space.write(keys.lock, formatLock(message.token, leaseEndUs), nowUs + LOCK_KEPT_US);
  return true;
}

/** Writes down who started a chat, whoever claims it; false where it is somebody else's. */
export function ownChat(
  space: KeySpace,
  nowUs: number,
  { keys, subjectKey, ownerTtlUs }: Omit<Admitted, "role" | "message" | "sends">,
  { mark, stamped }: { readonly mark: string; readonly stamped: boolean },
): boolean {
  const owner = space.read(keys.owner)?.text;
  const foreign = owner !== undefined && owner.slice(2) !== subjectKey;
  if (foreign && (owner.startsWith("s") || (owner.startsWith("f") && !stamped))) return false;
  space.write(keys.owner, `s ${subjectKey}`, nowUs + ownerTtlUs);
  if (mark !== NO_MARK && space.read(keys.tally) === undefined) {
    const tally = { sends: 0, mark, doubtfulUntilUs: 0 };
    space.write(keys.tally, formatTally(tally), nowUs + ownerTtlUs);
  }
  return true;
}

function readPending(space: KeySpace, { record }: ChatKeys): PendingRecord | undefined {
  const parsed = record === undefined ? undefined : parseRecord(space.read(record)?.text);
  return parsed?.kind === "pending" ? parsed : undefined;
}

function writeRecord(
  space: KeySpace,
  nowUs: number,
  { record: key }: ChatKeys,
  record: PendingRecord,
): void {
  if (key !== undefined) rewrite(space, key, formatRecord(record), nowUs + KEY_KEPT_US);
}

function finishRecord(
  space: KeySpace,
  nowUs: number,
  { record: key }: ChatKeys,
  { fingerprint }: MessageRef,
  answer: string,
): void {
  if (key === undefined) return;
  const record = formatRecord({ kind: "finished", fingerprint, answer });
  space.write(key, record, nowUs + KEY_KEPT_US);
}
