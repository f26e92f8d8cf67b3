/**
 * Rules of settling a sender, a recoverer or a reader. `lua/settle-sender.ts`, `lua/settle-recoverer.ts`
 * and `lua/settle-reader.ts` have the same in Lua; the same property test drives both.
 */
import { type OwnerKind, UNRESOLVED_KEPT_US } from "../admission.ts";
import type { KeySpace } from "../key-space.ts";
import { type ChatRecord, CONTESTED, NO_STATE } from "../records.ts";
import type { StateSettings } from "../state-settings.ts";
import {
  addUnresolved,
  contestWords,
  isBusy,
  isSole,
  type MessageOf,
  readChat,
  resolveMessage,
  settleOwner,
  writeChat,
} from "./chat-rules.ts";
import type { StoredBudget } from "./counter-rules.ts";
import {
  closeKey,
  finishKey,
  readOpen,
  recallKey,
  refundAnswer,
  type StoredAnswer,
} from "./key-rules.ts";

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
