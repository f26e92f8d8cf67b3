/** Parses chat ids, so that no other text of a client's URL reaches an upstream path. */
import type { ChatId } from "../branded.ts";

// Matched with the raw path, before any decoding: `%61` is not an `a` here.
const CHAT_ID = /^[A-Za-z0-9_-]{1,128}$/;

/**
 * Parses a chat id of 1 to 128 letters, digits, underscores and hyphens.
 *
 * @param rawSegment the path segment, not decoded
 * @returns undefined if it is not a chat id
 */
export function parseChatId(rawSegment: string): ChatId | undefined {
  // The only place that creates a `ChatId` from a string.
  return CHAT_ID.test(rawSegment) ? (rawSegment as ChatId) : undefined; // oxlint-disable-line typescript/no-unsafe-type-assertion
}

/** Returns the second segment of a URL's raw path: `abc` of `https://host/chat/abc/send?x`. */
export function readRawChatId(url: string): string {
  const pathStart = url.indexOf("/", url.indexOf("//") + 2);
  const idStart = url.indexOf("/", pathStart + 1) + 1;
  let idEnd = idStart;
  while (idEnd < url.length && !"/?#".includes(url.charAt(idEnd))) idEnd += 1;
  return url.slice(idStart, idEnd);
}
