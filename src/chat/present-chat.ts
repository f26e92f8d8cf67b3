/** Selects the parts of the provider's chats that a browser receives. */
import { z } from "zod";

import type { ProviderChat } from "./chat-provider.ts";
import { messageSchema, presentMessages } from "./present-messages.ts";

const instant = z.iso.datetime().nullable().meta({ description: "RFC 3339, UTC." });

/** A chat that was just started. */
export const startedChatSchema = z.strictObject({
  chatId: z.string(),
  status: z.string().nullable(),
  startedAt: instant,
  messages: z.array(messageSchema),
});

/** A chat with its transcript. */
export const chatSchema = z.strictObject({
  chatId: z.string(),
  status: z.string().nullable(),
  startedAt: instant,
  endedAt: instant,
  messages: z.array(messageSchema),
});

/** Creates the client's chat: without cost, analysis, metadata or variables. */
export function presentChat(
  { chatId, status, startedAt, endedAt, messages }: ProviderChat,
  exposeToolCalls: boolean,
): z.output<typeof chatSchema> {
  return {
    chatId,
    status: status ?? null,
    startedAt: startedAt ?? null,
    endedAt: endedAt ?? null,
    messages: presentMessages(messages ?? [], exposeToolCalls),
  };
}

/** Creates the client's view of a chat that was just started: it has no end. */
export function presentStartedChat(
  chat: ProviderChat,
  exposeToolCalls: boolean,
): z.output<typeof startedChatSchema> {
  const { endedAt: _endedAt, ...started } = presentChat(chat, exposeToolCalls);
  return started;
}
