/** Owns the choice of whose chats a session may use; the state decides by it. */
import type { ChatAccess } from "../admission/admission.ts";
import type { ChatId } from "../branded.ts";

/** The operator's rule for all sessions; see `CHAT_ACCESS`. */
export type ChatAccessMode = "first-use" | "claim" | "workspace";

/**
 * @param chats the chats that the session's token confines it to, besides those it started;
 *   undefined: no such claim
 */
export function resolveChatAccess(
  mode: ChatAccessMode,
  chats: readonly string[] | undefined,
  chatId: ChatId,
): ChatAccess {
  if (chats !== undefined) {
    if (!chats.includes(chatId)) return "started";
    // A listed chat that is nobody's becomes this session's: it must not be free for the next one.
    return mode === "first-use" ? "open-first-use" : "open";
  }
  switch (mode) {
    case "first-use":
      return "first-use";
    case "claim":
      return "started";
    case "workspace":
      return "open";
  }
}
