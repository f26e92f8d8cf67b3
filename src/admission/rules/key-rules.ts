/**
 * Rules of the records of idempotency keys, and of the answers that they store. `lua/key-rules.ts` has
 * the same in Lua.
 */
import { KEY_KEPT_US } from "../admission.ts";
import { type KeySpace, rewrite } from "../key-space.ts";
import { formatKey, type KeyRecord, NONE, type OpenRecord, parseKey } from "../records.ts";
import type { MessageOf } from "./chat-rules.ts";
import { openCounters, spendStored, type StoredBudget } from "./counter-rules.ts";

export interface StoredAnswer {
  readonly answer: string;
  /** KiB to be spent besides the one that admission has spent. */
  readonly kib: number;
  readonly budget: StoredBudget;
}

/** What a message that was not sent spends from the byte budgets: the KiB of its admission less. */
export const REFUND_KIB = -1;

/** The record of a key whose message is about to be sent. */
export function beginKey(
  { token, fingerprint }: Pick<MessageOf, "token" | "fingerprint">,
  state: string,
  leaseEndUs: number,
): OpenRecord {
  const holders = { attempt: token, holder: token, leaseEndUs };
  return { kind: "pending", fingerprint, ...holders, state, code: NONE };
}

export function readOpen(space: KeySpace, recordKey: string | undefined): OpenRecord | undefined {
  const key: KeyRecord | undefined =
    recordKey === undefined ? undefined : parseKey(space.read(recordKey)?.text);
  return key?.kind === "finished" ? undefined : key;
}

/** The record of a message that the state has lost meanwhile, as its sender knows it. */
export function recallKey(
  space: KeySpace,
  recordKey: string | undefined,
  message: MessageOf,
): OpenRecord | undefined {
  if (recordKey === undefined || space.read(recordKey) !== undefined) return undefined;
  return beginKey(message, NONE, 0);
}

/** Ends the lease of a key whose outcome is still unknown. */
export function closeKey(space: KeySpace, nowUs: number, recordKey: string, key: OpenRecord): void {
  rewrite(space, recordKey, formatKey({ ...key, leaseEndUs: 0 }), nowUs + KEY_KEPT_US);
}

/** Keeps the answer for its key; or, where the byte budgets have no room, only that there is one. */
export function finishKey(
  space: KeySpace,
  nowUs: number,
  recordKey: string,
  key: OpenRecord,
  stored: StoredAnswer | undefined,
): void {
  if (stored !== undefined && spendAnswer(space, nowUs, stored)) {
    const { fingerprint } = key;
    const finished = formatKey({ kind: "finished", fingerprint, answer: stored.answer });
    space.write(recordKey, finished, nowUs + KEY_KEPT_US);
    return;
  }
  const answered = formatKey({ ...key, kind: "answered", leaseEndUs: 0, code: NONE });
  if (key.kind === "answered") rewrite(space, recordKey, answered, nowUs + KEY_KEPT_US);
  else space.write(recordKey, answered, nowUs + KEY_KEPT_US);
}

/** Gives back to both byte budgets what admission has spent for an answer that never comes. */
export function refundAnswer(space: KeySpace, nowUs: number, budget: StoredBudget): void {
  const counters = openCounters(space, nowUs);
  spendStored(counters, nowUs, budget, REFUND_KIB);
  counters.save();
}

function spendAnswer(space: KeySpace, nowUs: number, { kib, budget }: StoredAnswer): boolean {
  if (kib === 0) return true;
  const counters = openCounters(space, nowUs);
  if (!spendStored(counters, nowUs, budget, kib)) return false;
  counters.save();
  return true;
}
