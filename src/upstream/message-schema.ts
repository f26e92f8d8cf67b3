/**
 * Owns the shape of UponAI's answers, as far as this product reads them. Unknown members are
 * dropped; a known one of the wrong type makes the answer malformed.
 * Source: UponAI Platform API reference, `ChatCompletionResponse` and `Message`.
 */
import { z } from "zod";

// The reference requires `role` and `content`, yet agents that call tools leave either out.
const message = z.object({
  role: z.string().nullish(),
  content: z.string().nullish(),
  name: z.string().nullish(),
  tool_calls: z.array(z.record(z.string(), z.unknown())).nullish(),
});

const completion = z.object({ messages: z.array(message).optional() });

export type UpstreamMessage = z.output<typeof message>;

/** The messages of a completion; none when it has no such member; undefined when malformed. */
export function parseCompletion(body: string): readonly UpstreamMessage[] | undefined {
  let json: unknown;
  try {
    json = JSON.parse(body);
  } catch {
    return undefined;
  }
  const result = completion.safeParse(json);
  return result.success ? (result.data.messages ?? []) : undefined;
}
