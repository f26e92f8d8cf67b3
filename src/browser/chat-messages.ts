/** The messages of a chat, from the service's shape to that of the AI SDK. */
import type { ApiMessage } from "./api.ts";
import type { ChatMessage } from "./types.ts";

/**
 * Replaces the messages of a transcript. What has not changed stays the same object, so that a view
 * renders it once.
 */
export function mergeMessages(
  before: readonly ChatMessage[],
  messages: readonly ApiMessage[],
): readonly ChatMessage[] {
  return messages.map((message, index) => {
    const old = before[index];
    const now = toMessage(index, message);
    return old && JSON.stringify(old) === JSON.stringify(now) ? old : now;
  });
}

/** Creates the message with this place in the transcript. */
export function toMessage(index: number, message: ApiMessage, isPending = false): ChatMessage {
  const { role, content, name, tool_calls: toolCalls } = message;
  const metadata = {
    ...(name !== undefined && { name }),
    ...(toolCalls !== undefined && { toolCalls }),
    ...(isPending && { isPending: true as const }),
  };
  return {
    id: `${index}`,
    role: role === "user" ? "user" : "assistant",
    parts: content === "" ? [] : [{ type: "text", text: content }],
    ...(Object.keys(metadata).length > 0 && { metadata }),
  };
}
