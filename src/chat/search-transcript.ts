/** Owns the search for an answer that was lost: when it is given up, and what is said of its result. */
import type { Exchange } from "../exchange.ts";
import type { ProblemCode } from "../problem.ts";
import { type ChatCaller, type ChatParts, traceOf } from "./chat-parts.ts";
import { recoverAnswer, type SearchResult } from "./recover-answer.ts";
import { type Known, presentAsJson, type Sent, unknown } from "./sent.ts";
import { formatReply } from "./stored-answer.ts";

/** @param code what to say where the transcript cannot be read */
export async function searchTranscript(
  parts: ChatParts,
  exchange: Exchange,
  message: ChatCaller & { readonly content: string },
  known: Known,
  code: ProblemCode,
): Promise<Sent> {
  const { workspace, chatId, content } = message;
  const { mark } = known;
  if (mark === undefined) return unknown("outcome_unknown", known);
  const trace = traceOf(exchange);
  const found = await recoverAnswer(parts, {
    mark,
    content,
    windowMs: parts.recoveryWindowMs,
    look: (timeoutMsMax) =>
      parts.upstream.getChat(workspace, chatId, trace, { timeoutMsMax, repeated: true }),
    // The key's next call looks again: nothing is lost when nobody waits for this one any more.
    isGivenUp: () => exchange.request.signal.aborted || parts.gate.draining,
  });
  return describeResult(parts, found, known, code);
}

function describeResult(
  parts: ChatParts,
  found: SearchResult,
  known: Known,
  code: ProblemCode,
): Sent {
  const { claim } = known;
  switch (found.kind) {
    case "found": {
      const result = { kind: "messages", json: presentAsJson(parts, found.messages) } as const;
      const answer = formatReply(result);
      return {
        result: { ...result, recovered: true },
        settlement: { fate: "recovered", answer, mark: found.mark, claim },
      };
    }
    case "not_found":
      return unknown("outcome_unknown", known);
    case "not_read":
      return unknown(code, known);
  }
}
