/** Rules of renewing the lease of an admitted message. `lua/renew.ts` has the same in Lua. */
import { KEY_KEPT_US, LOCK_LEASE_US } from "../admission.ts";
import { type KeySpace, rewrite } from "../key-space.ts";
import { CONTESTED, formatKey, NO_STATE } from "../records.ts";
import type { StateSettings } from "../state-settings.ts";
import {
  abandonRunning,
  isBusy,
  isSole,
  readChat,
  resolveMessage,
  writeChat,
} from "./chat-rules.ts";
import { readOpen, recallKey } from "./key-rules.ts";
import type { Admitted } from "./settle.ts";

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
