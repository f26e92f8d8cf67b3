/** What a chat keeps over a reload of the page. */
import type { ChatOptions, ChatStorage } from "./types.ts";

/** A pending message is forgotten after this time, in milliseconds, as its key is by the service. */
export const KEPT_MS = 86_400_000;

interface ChatRecord {
  readonly chatId: string;
  /** The user who owns the record: another one must not see it. */
  readonly subject: string;
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
export function recordName({ baseUrl = "", chatId = "", storage }: ChatOptions): RecordPlace {
  return { name: `uponai-chat:${baseUrl}:${chatId}`, storage: storage ?? findStorage(storage) };
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
