/**
 * Owns the shape of UponAI's answers, as far as this product reads them. Unknown members are
 * dropped; a known one of the wrong type makes the answer malformed.
 * Source: UponAI Platform API reference, `ChatCompletionResponse`, `Chat` and `Message`.
 */
import { z } from "zod";

import { isTooDeep } from "../json-depth.ts";

// The reference requires `role` and `content`, yet agents that call tools leave either out.
const message = z.object({
  role: z.string().nullish(),
  content: z.string().nullish(),
  name: z.string().nullish(),
  tool_calls: z
    .array(z.record(z.string(), z.unknown()))
    .refine((calls) => !isTooDeep(calls))
    .nullish(),
});

const completion = z.object({ messages: z.array(message).optional() });

/** RFC 3339, in UTC as it came, or brought there from its offset. */
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

export type UpstreamMessage = z.output<typeof message>;
export type UpstreamChat = z.output<typeof chat>;

/** The messages of a completion; none when it has no such member; undefined when malformed. */
export function parseCompletion(body: string): readonly UpstreamMessage[] | undefined {
  const result = completion.safeParse(parseJson(body));
  return result.success ? (result.data.messages ?? []) : undefined;
}

/** A chat; undefined when malformed. */
export function parseChat(body: string): UpstreamChat | undefined {
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
