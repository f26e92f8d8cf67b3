/**
 * Parses the parts of UponAI's answers that this service uses. Unknown members are dropped. A known
 * member of the wrong type makes the whole answer malformed.
 * Source: UponAI Platform API reference, `ChatCompletionResponse`, `Chat` and `Message`.
 */
import { z } from "zod";

import type { ProviderChat, ProviderMessage } from "../chat/chat-provider.ts";
import { isTooDeep } from "../json-depth.ts";

// The reference requires `role` and `content`, but agents that call tools leave out either.
const message = z
  .object({
    role: z.string().nullish(),
    content: z.string().nullish(),
    name: z.string().nullish(),
    tool_calls: z
      .array(z.record(z.string(), z.unknown()))
      .refine((calls) => !isTooDeep(calls))
      .nullish(),
  })
  .transform((given): ProviderMessage => {
    // Most messages have no tool calls, and are not copied.
    if (!("tool_calls" in given)) return given;
    const { tool_calls: toolCalls, ...others } = given;
    return { ...others, toolCalls };
  });

const completion = z.object({ messages: z.array(message).optional() });

/** An RFC 3339 time. UTC is kept as it is; a time with another offset is converted to UTC. */
const instant = z.iso
  .datetime({ offset: true })
  .transform((text) => (text.endsWith("Z") ? text : new Date(text).toISOString()));

const chat = z.object({
  chatId: z.string(),
  status: z.string().nullish(),
  startedAt: instant.nullish(),
  endedAt: instant.nullish(),
  messages: z.array(message).nullish(),
  metadata: z.record(z.string(), z.unknown()).nullish(),
});

/**
 * Parses the answer to a message.
 *
 * @returns the messages, none if the answer has no `messages`; undefined if it is malformed
 */
export function parseCompletion(body: string): readonly ProviderMessage[] | undefined {
  const result = completion.safeParse(parseJson(body));
  return result.success ? (result.data.messages ?? []) : undefined;
}

/** Parses a chat; undefined if it is malformed. */
export function parseChat(body: string): ProviderChat | undefined {
  const result = chat.safeParse(parseJson(body));
  return result.success ? result.data : undefined;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
