/** Rules of taking back an admission. `lua/withdraw.ts` has the same in Lua. */
import type { KeySpace } from "../key-space.ts";
import type { StateSettings } from "../state-settings.ts";
import { readChat, resolveMessage, settleOwner, writeChat } from "./chat-rules.ts";
import { type Meter, openCounters, spendStored, type StoredBudget } from "./counter-rules.ts";
import { closeKey, readOpen, REFUND_KIB } from "./key-rules.ts";
import type { Admitted } from "./settle.ts";

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
