/**
 * Rules on the record of one chat: its owner, its running message, its unresolved messages.
 * `lua/chat-rules.ts` has the same rules under the same names.
 */
import {
  type ChatAccess,
  UNRESOLVED_KEPT_US,
  LOCK_LEASE_US,
  type OwnerKind,
} from "../admission.ts";
import type { KeySpace } from "../key-space.ts";
import {
  type ChatRecord,
  CONTESTED,
  formatChat,
  isLeased,
  NO_STATE,
  parseChat,
  type Running,
  UNRESOLVED_MAX,
} from "../records.ts";
import type { StateSettings } from "../state-settings.ts";
import { importChat } from "./import.ts";

/** One message, as the rules know it. */
export interface MessageOf {
  readonly token: string;
  readonly fingerprint: string;
  /** See `messageIdOf`. */
  readonly messageId: string;
}

/** Reads a chat's record; where there is none, what 0.1.0 has written of it. */
export function readOrImportChat(space: KeySpace, nowUs: number, key: string): ChatRecord {
  return space.read(key) === undefined
    ? importChat(space, nowUs, key)
    : readChat(space, nowUs, key);
}

/** Reads a chat's record; an empty one where there is none. */
export function readChat(space: KeySpace, nowUs: number, key: string): ChatRecord {
  return parseChat(space.read(key)?.text, nowUs);
}

/** Writes a chat's record until all of it has ended; deletes one that says nothing. */
export function writeChat(
  space: KeySpace,
  nowUs: number,
  key: string,
  chat: ChatRecord,
  ownerKeptUs: number,
): void {
  // Any chat id can be written into: a chat that UponAI has not shown must not fill the store for long.
  const proven = chat.state !== NO_STATE || (chat.owner !== undefined && chat.owner.kind !== "p");
  const keptUs = proven ? ownerKeptUs : Math.min(ownerKeptUs, UNRESOLVED_KEPT_US);
  const counted = chat.sends > 0 || chat.state !== NO_STATE;
  const endUs = Math.max(
    counted ? nowUs + keptUs : 0,
    chat.owner?.endUs ?? 0,
    chat.doubtfulUntilUs,
    chat.contestedUntilUs,
    ...chat.unresolved.map(({ untilUs }) => untilUs),
  );
  if (endUs > nowUs) space.write(key, formatChat(chat), endUs);
  else space.delete(key);
}

/** Whether a message is being answered in this chat. */
export function isBusy({ running }: ChatRecord, nowUs: number): boolean {
  return running !== undefined && isLeased(running.leaseEndUs, nowUs);
}

/** Whether a session may use the chat, and whether it becomes its owner by that. */
export function checkAccess({ owner }: ChatRecord, access: ChatAccess, subjectKey: string) {
  const own = owner?.subjectKey === subjectKey;
  const open = access === "open" || access === "open-first-use";
  const mayOwn = access === "first-use" || access === "open-first-use";
  const allowed =
    open ||
    (access === "first-use" && (own || owner === undefined)) ||
    (access === "started" && own && owner.kind === "s");
  const provisional = mayOwn && (owner === undefined || (own && owner.kind === "p"));
  return { allowed, provisional, confirmed: own && owner.kind !== "p" };
}

/** Makes or keeps the session's subject the owner; false where that changes nothing. */
export function keepOwner(
  chat: ChatRecord,
  nowUs: number,
  subjectKey: string,
  access: { readonly provisional: boolean; readonly confirmed: boolean },
  { ownerKeptUs, provisionalKeptUs }: StateSettings,
): boolean {
  // Others are kept out at once; it becomes ownership once UponAI has proven that the chat exists.
  if (access.provisional) {
    const uses = (chat.owner?.uses ?? 0) + 1;
    chat.owner = { kind: "p", subjectKey, endUs: nowUs + provisionalKeptUs, uses };
    return true;
  }
  if (!access.confirmed || chat.owner === undefined) return false;
  chat.owner = { ...chat.owner, endUs: nowUs + ownerKeptUs };
  return true;
}

/**
 * Confirms a provisional owner, or drops it once no other request of it is under way: that request may
 * read the chat, and no other subject may write into it meanwhile. A stamp is proof; a first use yields
 * to an owner.
 */
export function settleOwner(
  chat: ChatRecord,
  nowUs: number,
  subjectKey: string,
  confirmed: OwnerKind | undefined,
  ownerKeptUs: number,
): void {
  const { owner } = chat;
  const provisional = owner?.kind === "p" && owner.subjectKey === subjectKey;
  const endUs = nowUs + ownerKeptUs;
  if (confirmed === "started") {
    if (owner?.kind !== "s") chat.owner = { kind: "s", subjectKey, endUs, uses: 1 };
  } else if (confirmed === "first-use") {
    if (provisional || owner === undefined) chat.owner = { kind: "f", subjectKey, endUs, uses: 1 };
  } else if (provisional) {
    chat.owner = owner.uses > 1 ? { ...owner, uses: owner.uses - 1 } : undefined;
  }
}

/** Locks the chat for a message. @returns whether its words are contested */
export function beginMessage(
  chat: ChatRecord,
  nowUs: number,
  { token, fingerprint, messageId }: MessageOf,
): boolean {
  abandonRunning(chat, nowUs);
  const contested = contestWords(chat, nowUs, fingerprint);
  const id = contested ? CONTESTED : messageId;
  chat.running = { token, leaseEndUs: nowUs + LOCK_LEASE_US, fingerprint, messageId: id };
  chat.sends += 1;
  return contested;
}

/** The running message was never settled: it may still arrive, out of turn. */
export function abandonRunning(chat: ChatRecord, nowUs: number): void {
  const { running } = chat;
  if (running === undefined) return;
  chat.running = undefined;
  // A lease that ends far ahead was written before the clock was set back.
  const untilUs = Math.min(running.leaseEndUs, nowUs) + UNRESOLVED_KEPT_US;
  addUnresolved(chat, nowUs, running.fingerprint, running.messageId, untilUs);
}

/** Notes a message with an unknown outcome, and that the transcript may change until it has ended. */
export function addUnresolved(
  chat: ChatRecord,
  nowUs: number,
  fingerprint: string,
  messageId: string,
  untilUs: number,
): void {
  chat.state = NO_STATE;
  if (untilUs <= nowUs) return;
  chat.doubtfulUntilUs = Math.max(chat.doubtfulUntilUs, untilUs);
  const same = chat.unresolved.find(
    (other) => other.fingerprint === fingerprint && other.messageId === messageId,
  );
  const others = chat.unresolved.filter((other) => other !== same);
  const latest = Math.max(same?.untilUs ?? 0, untilUs);
  const all = [...others, { fingerprint, messageId, untilUs: latest }];
  if (all.length <= UNRESOLVED_MAX) {
    chat.unresolved = all;
    return;
  }
  // Too many to tell apart: less is recovered until all of them have ended, never a wrong answer.
  chat.unresolved = [];
  const latestUs = Math.max(...all.map((entry) => entry.untilUs));
  chat.contestedUntilUs = Math.max(chat.contestedUntilUs, latestUs);
}

/** Marks unresolved messages with these words as contested. @returns whether there are any */
export function contestWords(chat: ChatRecord, nowUs: number, fingerprint: string): boolean {
  const same = chat.unresolved.filter((entry) => entry.fingerprint === fingerprint);
  if (same.length === 0) return chat.contestedUntilUs > nowUs;
  const others = chat.unresolved.filter((entry) => entry.fingerprint !== fingerprint);
  const untilUs = Math.max(...same.map((entry) => entry.untilUs));
  chat.unresolved = [...others, { fingerprint, messageId: CONTESTED, untilUs }];
  return true;
}

/** Whether the chat's one message with these words is this one. */
export function isSole(
  { running, unresolved }: ChatRecord,
  { fingerprint, messageId }: Pick<MessageOf, "fingerprint" | "messageId">,
): boolean {
  const matches = (entry: Pick<Running, "fingerprint" | "messageId">) =>
    entry.fingerprint === fingerprint && entry.messageId === messageId;
  return (running !== undefined && matches(running)) || unresolved.some(matches);
}

/** Forgets an unresolved message whose outcome is known now. */
export function resolveMessage(
  chat: ChatRecord,
  { fingerprint, messageId }: Pick<MessageOf, "fingerprint" | "messageId">,
): void {
  chat.unresolved = chat.unresolved.filter(
    (entry) => entry.fingerprint !== fingerprint || entry.messageId !== messageId,
  );
}

/** Transcript state as far as it is proven; `-` while earlier messages may still change it. */
export function provenState({ state, doubtfulUntilUs }: ChatRecord, nowUs: number): string {
  return doubtfulUntilUs > nowUs ? NO_STATE : state;
}
