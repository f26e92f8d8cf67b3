/** Owns which chat ids are let through: what goes into an upstream path is never the client's URL. */
import type { ChatId } from "../branded.ts";

// Of the raw path, before any decoding: `%61` is not an `a` here.
const CHAT_ID = /^[A-Za-z0-9_-]{1,128}$/;

/** @param rawSegment the path segment as it came, percent-encoding and all */
export function parseChatId(rawSegment: string): ChatId | undefined {
  // The one place where a string becomes a chat id.
  return CHAT_ID.test(rawSegment) ? (rawSegment as ChatId) : undefined; // oxlint-disable-line typescript/no-unsafe-type-assertion
}

/** The second segment of a URL's raw path: `abc` of `https://host/chat/abc/send?x`. */
export function readRawChatId(url: string): string {
  const pathStart = url.indexOf("/", url.indexOf("//") + 2);
  const idStart = url.indexOf("/", pathStart + 1) + 1;
  let idEnd = idStart;
  while (idEnd < url.length && !"/?#".includes(url.charAt(idEnd))) idEnd += 1;
  return url.slice(idStart, idEnd);
}
