/**
 * Rules of admission: revocation, stored answer, limits, chat access, key, chat lock. `lua/admit.ts`
 * has the same in Lua for Redis; a property test drives both with the same histories and demands the
 * same decisions, so a change here is a change there.
 */
import { type ChatAccess, KEY_KEPT_US, LOCK_LEASE_US } from "../admission.ts";
import { type KeySpace, rewrite } from "../key-space.ts";
import {
  formatChat,
  formatKey,
  isLeased,
  type KeyRecord,
  NONE,
  type OpenRecord,
  parseKey,
  SUBJECT_SLOT,
} from "../records.ts";
import type { SessionKeys } from "../state-keys.ts";
import type { StateSettings } from "../state-settings.ts";
import {
  beginMessage,
  checkAccess,
  isBusy,
  keepOwner,
  type MessageOf,
  provenState,
  readOrImportChat,
  writeChat,
} from "./chat-rules.ts";
import { beginKey } from "./key-rules.ts";
import {
  isCutOff,
  kibOf,
  type Meter,
  openCounters,
  readTat,
  spendStored,
  type StoredBudget,
} from "./counter-rules.ts";

/** What is asked in one step. */
export interface Question {
  readonly keys: SessionKeys;
  /** When the session was issued, in milliseconds since the epoch; 0 where its token does not say. */
  readonly issuedAtMs: number;
  readonly limits: readonly Meter[];
  /** The limit on replays, by number and by KiB. */
  readonly replays: ReplayMeters | undefined;
  readonly stored: StoredBudget;
  readonly chat: ChatQuestion | undefined;
}

export interface ReplayMeters {
  readonly number: Meter;
  readonly kib: Meter;
}

export interface ChatQuestion {
  readonly key: string;
  readonly access: ChatAccess;
  readonly subjectKey: string;
  readonly message: MessageOf | undefined;
  /** Undefined: the message has no idempotency key. */
  readonly recordKey: string | undefined;
}

/** Verdicts by number, as the script returns them; 0: Redis came to it past its deadline. */
export const VERDICTS = [
  "late",
  "admitted",
  "limited",
  "chat_busy",
  "revoked",
  "denied",
  "replayed",
  "key_reused",
  "key_in_progress",
  "unresolved",
  "replays_limited",
] as const;

export type Verdict = (typeof VERDICTS)[number];

export interface Decision {
  readonly verdict: Verdict;
  /** The chat's record as the decision left it; empty where nothing is to be read from it. */
  readonly chatText: string;
  /** The key's record; empty where nothing is to be read from it. */
  readonly keyText: string;
  /** Whether the byte budgets have room for the answer: their first KiB is spent. */
  readonly storable: boolean;
  /**
   * One TAT per limit, as the decision left it; never before now. Where the limit on replays refuses,
   * also its two TATs and the size of the answer in KiB.
   */
  readonly tatsUs: readonly number[];
}

/** Decides one admission. */
export function decideAdmission(
  space: KeySpace,
  nowUs: number,
  { keys, issuedAtMs, limits, replays, stored, chat }: Question,
  settings: StateSettings,
): Decision {
  const counters = openCounters(space, nowUs);
  const tatsUs = limits.map((meter) => readTat(counters, nowUs, meter));
  const refuse = (verdict: Verdict, chatText = "", keyText = ""): Decision => {
    counters.save();
    return { verdict, chatText, keyText, storable: false, tatsUs };
  };
  const spend = (verdict: Verdict, chatText = "", keyText = "", keyed = false): Decision => {
    const spentUs = limits.map((meter, index) => (tatsUs[index] ?? nowUs) + meter.intervalUs);
    for (const [index, meter] of limits.entries()) counters.set(meter, spentUs[index] ?? nowUs);
    const storable = keyed && spendStored(counters, nowUs, stored, 1);
    counters.save();
    return { verdict, chatText, keyText, storable, tatsUs: spentUs };
  };

  const ended = Number(space.read(keys.session)?.text ?? 0) > nowUs;
  const cutOff =
    isCutOff(counters, nowUs, keys.subject, issuedAtMs) ||
    isCutOff(counters, nowUs, keys.workspace, issuedAtMs);
  if (ended || cutOff) return refuse("revoked");
  const limited = limits.some(
    ({ intervalUs, toleranceUs }, index) =>
      (tatsUs[index] ?? nowUs) + intervalUs - nowUs > toleranceUs,
  );
  if (chat === undefined) return limited ? refuse("limited") : spend("admitted");

  const { message, recordKey, subjectKey } = chat;
  const record = readOrImportChat(space, nowUs, chat.key);
  const access = checkAccess(record, chat.access, subjectKey);
  const keyText = recordKey === undefined ? undefined : space.read(recordKey)?.text;
  const key = parseKey(keyText);
  // A chat that is not this session's has no answers for it either.
  if (key !== undefined && access.allowed) {
    if (key.fingerprint !== message?.fingerprint) return refuse("key_reused");
    if (key.kind === "finished") {
      const replayed = refuse("replayed", "", keyText);
      if (replays === undefined) return replayed;
      return replay(replayed, counters, nowUs, replays, kibOf(key.answer));
    }
  }
  if (limited) return refuse("limited");
  if (!access.allowed) return spend("denied", formatChat(record));
  if (message !== undefined && recordKey !== undefined && isOpen(key)) {
    if (isLeased(key.leaseEndUs, nowUs)) return refuse("key_in_progress");
    if (keepOwner(record, nowUs, subjectKey, access, settings)) {
      writeChat(space, nowUs, chat.key, record, settings.ownerKeptUs);
    }
    const leased = formatKey(leaseKey(key, nowUs, message.token));
    rewrite(space, recordKey, leased, nowUs + KEY_KEPT_US);
    return spend("unresolved", formatChat(record), leased, true);
  }
  if (message !== undefined && isBusy(record, nowUs)) return refuse("chat_busy");
  const kept = keepOwner(record, nowUs, subjectKey, access, settings);
  if (message !== undefined) {
    const contested = beginMessage(record, nowUs, message);
    if (recordKey !== undefined) {
      const state = contested ? NONE : provenState(record, nowUs);
      const pending = beginKey(message, state, nowUs + LOCK_LEASE_US);
      space.write(recordKey, formatKey(pending), nowUs + KEY_KEPT_US);
    }
  }
  if (kept || message !== undefined) {
    writeChat(space, nowUs, chat.key, record, settings.ownerKeptUs);
  }
  return spend("admitted", formatChat(record), "", recordKey !== undefined);
}

/** Gives a stored answer again, within the limit on replays. */
function replay(
  replayed: Decision,
  counters: ReturnType<typeof openCounters>,
  nowUs: number,
  { number, kib }: ReplayMeters,
  size: number,
): Decision {
  // An answer larger than the whole limit would never be given again.
  const cost = Math.min(size * kib.intervalUs, kib.toleranceUs);
  const numberUs = readTat(counters, nowUs, number);
  const kibUs = readTat(counters, nowUs, kib);
  const fits =
    numberUs + number.intervalUs - nowUs <= number.toleranceUs &&
    kibUs + cost - nowUs <= kib.toleranceUs;
  if (!fits) {
    counters.save();
    const tatsUs = [...replayed.tatsUs, numberUs, kibUs, size];
    return { ...replayed, verdict: "replays_limited", keyText: "", tatsUs };
  }
  counters.set(number, numberUs + number.intervalUs);
  counters.set(kib, kibUs + cost);
  counters.save();
  return replayed;
}

function isOpen(key: KeyRecord | undefined): key is OpenRecord {
  return key !== undefined && key.kind !== "finished";
}

/** Leases the key of an attempt that no request works on any more to a recoverer. */
function leaseKey(key: OpenRecord, nowUs: number, holder: string): OpenRecord {
  return { ...key, holder, leaseEndUs: nowUs + LOCK_LEASE_US };
}

/** Counts one wrong credential; see `countAuthFailure`. */
export function countOne(
  space: KeySpace,
  nowUs: number,
  meter: Meter,
): { readonly counted: boolean; readonly tatUs: number } {
  const counters = openCounters(space, nowUs);
  const tatUs = readTat(counters, nowUs, meter);
  const spentUs = tatUs + meter.intervalUs;
  if (spentUs - nowUs > meter.toleranceUs) {
    counters.save();
    return { counted: false, tatUs };
  }
  counters.set(meter, spentUs);
  counters.save();
  return { counted: true, tatUs: spentUs };
}

/** Whether a session was ended, for requests that need no admission. */
export function isRevoked(
  space: KeySpace,
  nowUs: number,
  keys: SessionKeys,
  issuedAtMs: number,
): boolean {
  const counters = openCounters(space, nowUs);
  return (
    Number(space.read(keys.session)?.text ?? 0) > nowUs ||
    isCutOff(counters, nowUs, keys.subject, issuedAtMs) ||
    isCutOff(counters, nowUs, keys.workspace, issuedAtMs)
  );
}

/** Cuts off all sessions issued until `untilMs`. Never undoes an earlier order, or shortens it. */
export function cutOff(
  space: KeySpace,
  nowUs: number,
  key: string,
  { untilMs, endUs }: { readonly untilMs: number; readonly endUs: number },
): void {
  const counters = openCounters(space, nowUs);
  const raise = (slot: number, value: number) => {
    counters.set({ key, slot }, Math.max(counters.read({ key, slot }), value));
  };
  raise(SUBJECT_SLOT.cutOffMs, untilMs);
  raise(SUBJECT_SLOT.cutOffEndUs, endUs);
  counters.save();
}
