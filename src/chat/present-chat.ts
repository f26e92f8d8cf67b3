/** Owns which parts of UponAI's chats a browser gets to see. */
import { z } from "zod";

import type { UpstreamChat } from "../upstream/message-schema.ts";
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

/** Built from nothing: no cost, analysis, metadata or variables. */
export function presentChat(
  { chatId, status, startedAt, endedAt, messages }: UpstreamChat,
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

export function presentStartedChat(
  chat: UpstreamChat,
  exposeToolCalls: boolean,
): z.output<typeof startedChatSchema> {
  const { endedAt: _endedAt, ...started } = presentChat(chat, exposeToolCalls);
  return started;
}
