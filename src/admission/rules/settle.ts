/**
 * Rules of what comes after admission: settling a sender, a recoverer or a reader, renewing a lease,
 * owning a started chat, withdrawing. `lua/settle.ts` and its neighbours have the same in Lua; the
 * same property test drives both.
 */
import { UNRESOLVED_KEPT_US, KEY_KEPT_US, LOCK_LEASE_US, type OwnerKind } from "../admission.ts";
import { type KeySpace, rewrite } from "../key-space.ts";
import {
  type ChatRecord,
  CONTESTED,
  formatKey,
  type KeyRecord,
  NO_STATE,
  NONE,
  type OpenRecord,
  parseKey,
} from "../records.ts";
import type { StateSettings } from "../state-settings.ts";
import { beginKey } from "./admit.ts";
import {
  abandonRunning,
  contestWords,
  addUnresolved,
  isBusy,
  isSole,
  type MessageOf,
  readChat,
  readOrImportChat,
  resolveMessage,
  settleOwner,
  writeChat,
} from "./chat-rules.ts";
import { type Meter, openCounters, spendStored, type StoredBudget } from "./counter-rules.ts";

/** An admitted request, as the rules need it. */
export interface Admitted {
  readonly chatKey: string;
  readonly role: "sender" | "recoverer" | "reader";
  readonly subjectKey: string;
  readonly sends: number;
  /** Undefined for a reader. */
  readonly message: MessageOf | undefined;
  /** Undefined: the message has no idempotency key. */
  readonly recordKey: string | undefined;
}

/** A settlement, as the rules need it. */
export interface Settling {
  readonly disposition: "taken" | "not_taken" | "unknown";
  /** The answer was recovered from the transcript. */
  readonly recovered: boolean;
  readonly owner: OwnerKind | undefined;
  readonly stateBefore: string;
  readonly stateAfter: string;
  readonly code: string;
  /** Undefined: the answer is not to be stored. */
  readonly stored: StoredAnswer | undefined;
  /** Byte budgets to which a message that was not taken gives back what admission has spent. */
  readonly refund: StoredBudget | undefined;
}

export interface StoredAnswer {
  readonly answer: string;
  /** KiB to be spent besides the one that admission has spent. */
  readonly kib: number;
  readonly budget: StoredBudget;
}

/** What a message that was not sent spends from the byte budgets: the KiB of its admission less. */
export const REFUND_KIB = -1;

/** Results of settling by number, as the scripts return them. */
export const SETTLED = ["", "settled", "lost", "contested", "foreign"] as const;

type Settled = "settled" | "lost" | "contested" | "foreign";

/** Settles the sender of a message. */
export function settleSender(
  space: KeySpace,
  nowUs: number,
  admitted: Admitted & { readonly message: MessageOf },
  settling: Settling,
  { ownerKeptUs }: StateSettings,
): Settled {
  const { chatKey, message, recordKey, sends, subjectKey } = admitted;
  const { recovered, stateAfter } = settling;
  const chat = readChat(space, nowUs, chatKey);
  const mine = chat.running?.token === message.token;
  const leased = mine && isBusy(chat, nowUs);
  // Not so once its lock was taken over by the same words, also where it has the lock again since.
  const sole = mine && isSole(chat, message);
  const contested = recovered && !sole;
  const disposition = contested ? "unknown" : settling.disposition;
  settleOwner(chat, nowUs, subjectKey, settling.owner, ownerKeptUs);
  if (disposition !== "unknown") resolveMessage(chat, message);
  if (mine) {
    const id = chat.running?.messageId ?? CONTESTED;
    chat.running = undefined;
    const alone = chat.sends === sends;
    if (disposition === "not_taken" && alone) chat.sends -= 1;
    if (disposition === "unknown") {
      addUnresolved(chat, nowUs, message.fingerprint, id, nowUs + UNRESOLVED_KEPT_US);
    } else {
      // Nothing else can have changed the transcript.
      chat.state = alone && chat.doubtfulUntilUs <= nowUs ? stateAfter : NO_STATE;
    }
  } else if (disposition !== "not_taken") {
    settleOutOfTurn(chat, nowUs, message, { sends, taken: disposition === "taken" });
  }
  writeChat(space, nowUs, chatKey, chat, ownerKeptUs);

  const held = readOpen(space, recordKey);
  const key = held ?? recallKey(space, recordKey, message);
  if (recordKey !== undefined && key?.kind === "pending" && key.attempt === message.token) {
    const before = settling.stateBefore === NO_STATE ? key.state : settling.stateBefore;
    if (disposition === "not_taken") {
      space.delete(recordKey);
      // A settlement that is repeated finds no record, and gives nothing back again.
      if (settling.refund !== undefined && held !== undefined) {
        refundAnswer(space, nowUs, settling.refund);
      }
    } else if (disposition === "taken") {
      // Where its words are contested, its place in the transcript proves nothing.
      const state = sole ? before : NO_STATE;
      finishKey(space, nowUs, recordKey, { ...key, state }, settling.stored);
    } else if (key.holder === message.token) {
      const state = contested ? key.state : before;
      const code = contested ? key.code : settling.code;
      closeKey(space, nowUs, recordKey, { ...key, state, code });
    }
  }
  if (contested) return "contested";
  if (isForeign(chat, subjectKey, settling)) return "foreign";
  return leased ? "settled" : "lost";
}

/**
 * The lock was taken over, or the state had lost it. Others may have been let in meanwhile, and only
 * a look can tell the transcript state.
 */
function settleOutOfTurn(
  chat: ChatRecord,
  nowUs: number,
  { fingerprint, messageId }: MessageOf,
  { sends, taken }: { readonly sends: number; readonly taken: boolean },
): void {
  // Told twice, over a connection that broke; or the state had lost it, and has counted another since.
  // Nothing is under way in either case.
  const again = taken && chat.sends === sends && chat.running === undefined;
  const untilUs = nowUs + UNRESOLVED_KEPT_US;
  chat.sends = Math.max(chat.sends, sends);
  chat.state = NO_STATE;
  if (again) return;
  chat.doubtfulUntilUs = Math.max(chat.doubtfulUntilUs, untilUs);
  const known = chat.unresolved.some(
    (entry) => entry.fingerprint === fingerprint && entry.messageId === messageId,
  );
  const contested = !known && contestWords(chat, nowUs, fingerprint);
  if (chat.running?.fingerprint === fingerprint) {
    chat.running = { ...chat.running, messageId: CONTESTED };
  }
  if (!taken) {
    addUnresolved(chat, nowUs, fingerprint, contested ? CONTESTED : messageId, untilUs);
  }
}

/** Settles a request that looked for the answer to a message sent before. */
export function settleRecoverer(
  space: KeySpace,
  nowUs: number,
  admitted: Admitted & { readonly message: MessageOf },
  settling: Settling,
  { ownerKeptUs }: StateSettings,
): Settled {
  const { chatKey, message, recordKey, subjectKey } = admitted;
  const chat = readChat(space, nowUs, chatKey);
  const key = readOpen(space, recordKey);
  const holds = key?.holder === message.token;
  const found = settling.recovered && holds;
  const proven = found && (key.kind === "answered" || isSole(chat, message));
  settleOwner(chat, nowUs, subjectKey, settling.owner, ownerKeptUs);
  if (proven) {
    resolveMessage(chat, message);
    const { running } = chat;
    if (running?.messageId === message.messageId && running.fingerprint === message.fingerprint) {
      // Its sender may still be there; then it has to settle, and no more to find.
      chat.running = isBusy(chat, nowUs) ? { ...running, messageId: CONTESTED } : undefined;
      // It was the state before this message, which is in the transcript now.
      chat.state = NO_STATE;
    }
  }
  writeChat(space, nowUs, chatKey, chat, ownerKeptUs);
  if (!holds || recordKey === undefined) return "contested";
  if (proven) finishKey(space, nowUs, recordKey, key, settling.stored);
  else closeKey(space, nowUs, recordKey, key);
  if (settling.recovered && !proven) return "contested";
  return isForeign(chat, subjectKey, settling) ? "foreign" : "settled";
}

/** Settles a request that read or ended a chat: notes what it saw, unless a message was let in since. */
export function settleReader(
  space: KeySpace,
  nowUs: number,
  { chatKey, subjectKey, sends }: Admitted,
  settling: Settling,
  { ownerKeptUs }: StateSettings,
): Settled {
  const { owner, stateAfter } = settling;
  const chat = readChat(space, nowUs, chatKey);
  settleOwner(chat, nowUs, subjectKey, owner, ownerKeptUs);
  const seen = stateAfter !== NO_STATE && chat.sends === sends && chat.running === undefined;
  if (seen) chat.state = stateAfter;
  writeChat(space, nowUs, chatKey, chat, ownerKeptUs);
  return isForeign(chat, subjectKey, settling) ? "foreign" : "settled";
}

/**
 * Whether another subject has become the owner that this request was to become: what the request has
 * read may hold messages of the other subject.
 */
function isForeign(
  chat: ChatRecord,
  subjectKey: string,
  { owner }: Pick<Settling, "owner">,
): boolean {
  return owner !== undefined && chat.owner?.subjectKey !== subjectKey;
}

/** Extends a lease, and takes the chat anew where its lock was lost; but never another message's. */
export function renewLease(
  space: KeySpace,
  nowUs: number,
  { chatKey, role, message, recordKey, sends }: Admitted,
  stateBefore: string,
  { ownerKeptUs }: StateSettings,
): boolean {
  if (message === undefined) return false;
  const leaseEndUs = nowUs + LOCK_LEASE_US;
  const recalled = role === "sender" ? recallKey(space, recordKey, message) : undefined;
  const key = readOpen(space, recordKey) ?? recalled;
  const holds = key?.holder === message.token;
  if (recordKey !== undefined && holds) {
    const state = stateBefore === NO_STATE ? key.state : stateBefore;
    rewrite(space, recordKey, formatKey({ ...key, leaseEndUs, state }), nowUs + KEY_KEPT_US);
  }
  if (role !== "sender") return holds;
  const chat = readChat(space, nowUs, chatKey);
  if (chat.running?.token === message.token) {
    chat.running = { ...chat.running, leaseEndUs };
  } else {
    if (isBusy(chat, nowUs)) return false;
    abandonRunning(chat, nowUs);
    // Contested unless nothing came between: what is found then may be another message's answer.
    const sole = isSole(chat, message);
    resolveMessage(chat, message);
    const { token, fingerprint } = message;
    const messageId = sole ? message.messageId : CONTESTED;
    chat.running = { token, leaseEndUs, fingerprint, messageId };
    chat.state = NO_STATE;
    chat.sends = Math.max(chat.sends, sends);
  }
  writeChat(space, nowUs, chatKey, chat, ownerKeptUs);
  return true;
}

/** Writes down who started a chat; false where another subject owns it. */
export function ownChat(
  space: KeySpace,
  nowUs: number,
  { chatKey, subjectKey }: Pick<Admitted, "chatKey" | "subjectKey">,
  { state, stamped }: { readonly state: string; readonly stamped: boolean },
  { ownerKeptUs }: StateSettings,
): boolean {
  const chat = readOrImportChat(space, nowUs, chatKey);
  const { owner } = chat;
  const foreign = owner !== undefined && owner.subjectKey !== subjectKey;
  if (foreign && (owner.kind === "s" || (owner.kind === "f" && !stamped))) return false;
  chat.owner = { kind: "s", subjectKey, endUs: nowUs + ownerKeptUs, uses: 1 };
  const unused = chat.sends === 0 && chat.doubtfulUntilUs <= nowUs;
  if (unused && chat.state === NO_STATE) chat.state = state;
  writeChat(space, nowUs, chatKey, chat, ownerKeptUs);
  return true;
}

/** What is taken back of an admission. */
export interface Withdrawal {
  /** The decision is known; else only what the message left proves that it was admitted. */
  readonly heard: boolean;
  readonly limits: readonly Meter[];
  /** Undefined: it had no chat. */
  readonly chat:
    | (Pick<Admitted, "chatKey" | "subjectKey" | "message" | "recordKey"> & {
        /** The byte budgets that a message with an idempotency key has spent from. */
        readonly budget: StoredBudget;
      })
    | undefined;
}

/**
 * Takes back an admission whose answer came too late: the request was answered 503. Where the decision
 * is not known, the message's token proves it; without proof nothing is taken back.
 */
export function withdraw(
  space: KeySpace,
  nowUs: number,
  { heard, limits, chat: withdrawn }: Withdrawal,
  { ownerKeptUs }: StateSettings,
): boolean {
  let proven = heard;
  let refund: StoredBudget | undefined;
  if (withdrawn !== undefined) {
    const { chatKey, subjectKey, message, recordKey } = withdrawn;
    const chat = readChat(space, nowUs, chatKey);
    const key = readOpen(space, recordKey);
    if (message !== undefined) {
      const sent = chat.running?.token === message.token;
      const attempted = key?.kind === "pending" && key.attempt === message.token;
      const held = key?.holder === message.token;
      proven ||= sent || attempted || held;
      // If the budgets had no room, nothing was spent, and 1 KiB too much is given back.
      // A withdrawal that is repeated finds no record or no lease, and gives nothing back again.
      if (attempted || (held && key.leaseEndUs > 0)) refund = withdrawn.budget;
      if (sent) {
        chat.running = undefined;
        chat.sends -= 1;
      }
      if (sent || attempted) resolveMessage(chat, message);
      if (recordKey !== undefined && key !== undefined) {
        if (attempted) space.delete(recordKey);
        else if (held) closeKey(space, nowUs, recordKey, key);
      }
    }
    if (proven) {
      settleOwner(chat, nowUs, subjectKey, undefined, ownerKeptUs);
      writeChat(space, nowUs, chatKey, chat, ownerKeptUs);
    }
  }
  if (!proven) return false;
  const counters = openCounters(space, nowUs);
  for (const meter of limits) {
    counters.set(meter, Math.max(counters.read(meter) - meter.intervalUs, 0));
  }
  if (refund !== undefined) spendStored(counters, nowUs, refund, REFUND_KIB);
  counters.save();
  return true;
}

function readOpen(space: KeySpace, recordKey: string | undefined): OpenRecord | undefined {
  const key: KeyRecord | undefined =
    recordKey === undefined ? undefined : parseKey(space.read(recordKey)?.text);
  return key?.kind === "finished" ? undefined : key;
}

/** The record of a message that the state has lost meanwhile, as its sender knows it. */
function recallKey(
  space: KeySpace,
  recordKey: string | undefined,
  message: MessageOf,
): OpenRecord | undefined {
  if (recordKey === undefined || space.read(recordKey) !== undefined) return undefined;
  return beginKey(message, NONE, 0);
}

/** Ends the lease of a key whose outcome is still unknown. */
function closeKey(space: KeySpace, nowUs: number, recordKey: string, key: OpenRecord): void {
  rewrite(space, recordKey, formatKey({ ...key, leaseEndUs: 0 }), nowUs + KEY_KEPT_US);
}

/** Keeps the answer for its key; or, where the byte budgets have no room, only that there is one. */
function finishKey(
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
function refundAnswer(space: KeySpace, nowUs: number, budget: StoredBudget): void {
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
