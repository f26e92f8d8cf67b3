/** What a chat keeps over a reload of the page. */
import type { Session } from "./api.ts";
import type { ChatOptions, ChatStorage } from "./types.ts";

/** A pending message is forgotten after this time, in milliseconds, as its key is by the service. */
export const KEPT_MS = 86_400_000;

interface ChatRecord {
  /** Absent before the chat has started. */
  readonly chatId?: string | undefined;
  /** Who owns the record, see `nameOwner`: another user must not see it. */
  readonly owner: string;
  readonly pending?: {
    readonly text: string;
    readonly key: string;
    readonly sinceMs: number;
    readonly count: number;
  };
}

/** A record's place. Several chats on one page have several. */
export interface RecordPlace {
  readonly name: string;
  readonly storage: ChatStorage | null;
}

/** Finds the place of a chat's record. */
export function recordName({
  baseUrl = "",
  chatId = "",
  storageKey = "",
  storage,
}: ChatOptions): RecordPlace {
  return {
    name: `uponai-chat:${baseUrl}:${chatId || storageKey}`,
    storage: storage ?? findStorage(storage),
  };
}

/** Names the owner of a record. One subject can have sessions of several workspaces. */
export function nameOwner({ workspace, subject }: Session): string {
  return JSON.stringify([workspace, subject]);
}

/** Reads the record; undefined if there is none, or one that is too old or not ours. */
export function readRecord({ name, storage }: RecordPlace): ChatRecord | undefined {
  try {
    const record: unknown = JSON.parse(storage?.getItem(name) ?? "{}");
    return isRecord(record) ? record : undefined;
  } catch {
    return undefined;
  }
}

/** Only this module writes records: the members that are not checked are as it wrote them. */
function isRecord(value: unknown): value is ChatRecord {
  return (
    typeof value === "object" &&
    value !== null &&
    "atMs" in value &&
    Date.now() - Number(value.atMs) < KEPT_MS
  );
}

/** Stores the record. In a browser that allows no storage it does nothing. */
export function writeRecord({ name, storage }: RecordPlace, record: ChatRecord): void {
  try {
    storage?.setItem(name, JSON.stringify({ ...record, atMs: Date.now() }));
  } catch {
    // Storage is full or not allowed: the chat does not outlive a reload.
  }
}

/** Removes the record. */
export function forgetRecord({ name, storage }: RecordPlace): void {
  try {
    storage?.removeItem(name);
  } catch {
    // As for `writeRecord`.
  }
}

function findStorage(given: null | undefined): ChatStorage | null {
  try {
    // Reading the property throws where storage is not allowed. On a server there is no document.
    return given === null || typeof document === "undefined" ? null : sessionStorage;
  } catch {
    return null;
  }
}
