/** Owns the search for an answer that was lost: when it is given up, and what is said of its result. */
import type { Exchange } from "../exchange.ts";
import type { ProblemCode } from "../problem.ts";
import type { Admission } from "../admission/admission.ts";
import { confirmOwner } from "./admit-chat.ts";
import { type ChatCaller, type ChatParts, traceOf } from "./chat-parts.ts";
import { recoverAnswer, type SearchResult } from "./recover-answer.ts";
import { type Known, presentAsJson, type Sent, unknown } from "./sent.ts";
import { formatReply } from "./stored-answer.ts";

/** @param code what to say where the transcript cannot be read */
export async function searchTranscript(
  parts: ChatParts,
  exchange: Exchange,
  message: ChatCaller & { readonly content: string },
  { admission, known }: { readonly admission: Admission; readonly known: Known },
  code: ProblemCode,
): Promise<Sent> {
  const { workspace, chatId, content } = message;
  const { mark } = known;
  if (mark === undefined) return unknown("outcome_unknown", known);
  const trace = traceOf(exchange);
  let finding: ReturnType<typeof confirmOwner> | undefined;
  const found = await recoverAnswer(parts, {
    mark,
    content,
    windowMs: parts.recoveryWindowMs,
    look: async (timeoutMsMax) => {
      const look = { timeoutMsMax, repeated: true };
      const seen = await parts.upstream.getChat(workspace, chatId, trace, look);
      // A sender has looked before it sent, where that is needed; a recoverer looks here.
      if (seen.kind === "answered" && !known.proven) {
        finding = confirmOwner(parts, message, admission, seen.answer);
      }
      return seen;
    },
    // The key's next call looks again: nothing is lost when nobody waits for this one any more.
    isGivenUp: () =>
      finding?.allowed === false || exchange.request.signal.aborted || parts.gate.draining,
  });
  if (finding?.allowed === false) {
    return unknown("chat_not_found", { mark, owner: undefined, proven: true });
  }
  const shown = finding === undefined ? known : { mark, owner: finding.owner, proven: true };
  return describeResult(parts, found, shown, code);
}

function describeResult(
  parts: ChatParts,
  found: SearchResult,
  known: Known,
  code: ProblemCode,
): Sent {
  const { mark: stateBefore, owner } = known;
  switch (found.kind) {
    case "found": {
      const result = { kind: "messages", json: presentAsJson(parts, found.messages) } as const;
      const answer = formatReply(result);
      return {
        result: { ...result, recovered: true },
        settlement: {
          disposition: "taken",
          source: "transcript",
          answer,
          stateBefore,
          stateAfter: found.mark,
          owner,
        },
      };
    }
    case "not_found":
      return unknown("outcome_unknown", known);
    case "not_read":
      return unknown(code, known);
  }
}
