/** Chooses the representation of the answer about a message. */
import { describeApplied, type Preference } from "../http/prefer.ts";
import { Problem } from "../problem.ts";
import { answerJson, type RequestContext } from "../request-context.ts";
import { parseReply } from "./present-messages.ts";

/** The answer to a message. */
export interface Answered {
  readonly kind: "answered";
  /** The messages of the agent, as JSON text. */
  readonly json: string;
  /** The answer was lost and was recovered from the transcript. */
  readonly recovered?: true;
  /** The answer was stored by an earlier request and is given again. */
  readonly replayed?: true;
}

/** What a request about a message is answered with, unless it is a problem. */
export type Answer =
  | Answered
  /** The message goes on. `retryAfterSeconds` is when the client should ask again. */
  | { readonly kind: "running"; readonly retryAfterSeconds: number };

/** How a message ended, for all requests that wait for it. */
export type MessageOutcome =
  | { readonly kind: "answer"; readonly answer: Answered }
  | { readonly kind: "problem"; readonly problem: Problem };

const RUNNING = JSON.stringify({ status: "running" });

/**
 * Creates the response of an answer. Every answer about a message is created here; problems are
 * thrown.
 *
 * @param preference the bounded wait that was applied, if any
 */
export function presentAnswer(
  context: RequestContext,
  answer: Answer,
  preference?: Preference,
): Response {
  if (answer.kind === "running") {
    const applied = preference && describeApplied(preference, true);
    return answerJson(context, 202, RUNNING, {
      "Retry-After": String(answer.retryAfterSeconds),
      ...(applied === undefined ? {} : { "Preference-Applied": applied }),
    });
  }
  if (answer.replayed === true) context.replayed = true;
  if (answer.recovered === true) context.recovered = true;
  if (answer.replayed === true) return answerJson(context, 201, answer.json, REPLAYED);
  if (answer.recovered === true) return answerJson(context, 201, answer.json, RECOVERED);
  return answerJson(context, 201, answer.json);
}

const REPLAYED = { "Idempotency-Replayed": "true" };
const RECOVERED = { "Message-Recovered": "true" };

/**
 * Reads the stored answer of an idempotency key.
 *
 * @throws Problem if the stored answer is a problem
 */
export function readStoredAnswer(context: RequestContext, text: string): Answered {
  const stored = parseReply(text);
  if (stored === undefined) throw new Problem("outcome_unknown");
  if (stored.kind === "problem") {
    context.replayed = true;
    throw new Problem(stored.code, { headers: REPLAYED });
  }
  return { kind: "answered", json: stored.json, replayed: true };
}
