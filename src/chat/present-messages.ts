/** Owns which parts of UponAI's messages a browser gets to see. */
import { z } from "zod";

import type { UpstreamMessage } from "../upstream/message-schema.ts";

/** One message of an answer. */
export const messageSchema = z.strictObject({
  role: z.string().meta({ description: "`assistant` or `user`." }),
  content: z.string(),
  name: z.string().optional(),
  tool_calls: z
    .array(z.record(z.string(), z.unknown()))
    .optional()
    .meta({ description: "Only where the operator exposes tool calls." }),
});

/** The answer to a message. */
export const messagesSchema = z.strictObject({ messages: z.array(messageSchema) });

export type PresentedMessage = z.output<typeof messageSchema>;

/**
 * Builds the client's messages from nothing.
 *
 * @param exposeToolCalls false: only what `assistant` and `user` say in words; tool calls can hold
 *   internal data
 */
export function presentMessages(
  messages: readonly UpstreamMessage[],
  exposeToolCalls: boolean,
): PresentedMessage[] {
  const presented: PresentedMessage[] = [];
  for (const { role: givenRole, content, name, tool_calls: toolCalls } of messages) {
    const role = givenRole ?? "assistant";
    const spoken = (role === "assistant" || role === "user") && content != null && content !== "";
    if (!spoken && !exposeToolCalls) continue;
    const message: PresentedMessage = { role, content: content ?? "" };
    if (name != null) message.name = name;
    if (exposeToolCalls && toolCalls != null) message.tool_calls = toolCalls;
    presented.push(message);
  }
  return presented;
}
