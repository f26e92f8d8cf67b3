/**
 * Creates the answer to a message: selects the parts of the provider's messages that a browser
 * receives, and formats the answer as it is stored for an idempotency key.
 */
import { z } from "zod";

import { isProblemCode, type ProblemCode } from "../problem.ts";
import type { ProviderMessage } from "./chat-provider.ts";

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
 * Creates the client's messages from the listed members only.
 *
 * @param exposeToolCalls false: only messages of `assistant` and `user` that have text, without
 *   their tool calls, which can hold internal data
 */
export function presentMessages(
  messages: readonly ProviderMessage[],
  exposeToolCalls: boolean,
): PresentedMessage[] {
  const presented: PresentedMessage[] = [];
  for (const { role: givenRole, content, name, toolCalls } of messages) {
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

/** The answer to a message, as it is stored for an idempotency key. */
export type Reply =
  /** 201 with this JSON. */
  | { readonly kind: "messages"; readonly json: string }
  | { readonly kind: "problem"; readonly code: ProblemCode };

/** Creates the answer with these messages; `exposeToolCalls` as for `presentMessages`. */
export function presentReply(
  messages: readonly ProviderMessage[],
  exposeToolCalls: boolean,
): Extract<Reply, { kind: "messages" }> {
  const json = JSON.stringify({ messages: presentMessages(messages, exposeToolCalls) });
  return { kind: "messages", json };
}

/** Formats an answer as text for the state: two characters more than the answer itself. */
export function formatReply(reply: Reply): string {
  return reply.kind === "messages" ? `m ${reply.json}` : `p ${reply.code}`;
}

/** Parses a stored answer; undefined if this version did not write it. */
export function parseReply(text: string): Reply | undefined {
  const rest = text.slice(2);
  if (text.startsWith("m ")) return { kind: "messages", json: rest };
  return text.startsWith("p ") && isProblemCode(rest) ? { kind: "problem", code: rest } : undefined;
}
