/** What the chat routes share: their parts, and the caller. */
import type { AdmissionState } from "../admission/admission.ts";
import type { ChatId } from "../branded.ts";
import type { Clock } from "../clock.ts";
import { type Exchange, resolveTraceparent } from "../exchange.ts";
import type { Hashing } from "../hashing.ts";
import type { LoadGate } from "../load-gate.ts";
import type { Logger } from "../logger.ts";
import { Problem, type ProblemCode } from "../problem.ts";
import type { Session } from "../session/session.ts";
import type { Failure } from "../upstream/classify-reply.ts";
import type { TraceIds, UponaiClient } from "../upstream/uponai-client.ts";
import type { Workspace } from "../workspace.ts";
import type { ChatAccessMode } from "./chat-access.ts";
import type { NotFoundDelay } from "./not-found-delay.ts";

export interface ChatParts {
  readonly state: AdmissionState;
  readonly upstream: UponaiClient;
  readonly clock: Clock;
  readonly hashing: Hashing;
  readonly gate: LoadGate;
  readonly log: Logger;
  readonly createId: () => string;
  readonly pause: (ms: number) => Promise<void>;
  readonly notFoundDelay: NotFoundDelay;
  readonly chatAccess: ChatAccessMode;
  /** Longest search for a lost answer, in milliseconds. */
  readonly recoveryWindowMs: number;
  readonly exposeToolCalls: boolean;
}

/** Who asks: all of it proven. */
export interface Caller {
  readonly session: Session;
  readonly workspace: Workspace;
  /** Normalised address of the client. */
  readonly addressKey: string;
}

/** Who asks for something of which chat. */
export interface ChatCaller extends Caller {
  readonly chatId: ChatId;
}

/** What a request wants of a chat. */
export type ChatPurpose = "read" | "end" | "send";

export function traceOf(exchange: Exchange): TraceIds {
  return { requestId: exchange.requestId, traceparent: resolveTraceparent(exchange) };
}

/**
 * The request that a call to UponAI failed for. `unsent` is a message that was certainly not taken;
 * `send` is one that may have been.
 */
export type FailedRequest = "send" | "unsent" | "read" | "end" | "start";

/** The answer to what failed upstream, with UponAI's own word on when to try again. */
export function describeFailure(
  { code, retryAfterSeconds }: Pick<Failure, "code" | "retryAfterSeconds">,
  request: FailedRequest,
): Problem {
  const detail = DETAILS[request][code];
  return new Problem(code, {
    ...(retryAfterSeconds === undefined ? {} : { retryAfterSeconds }),
    ...(detail === undefined ? {} : { detail }),
  });
}

type Details = Readonly<Partial<Record<ProblemCode, string>>>;

/** Details of the codes whose text in the catalogue warns that a message may have arrived. */
function describeFailed(detail: string): Details {
  return {
    upstream_error: detail,
    upstream_malformed: detail,
    upstream_timeout: detail,
    outcome_unknown: detail,
  };
}

/** Details of the codes whose text in the catalogue says that a message was not sent. */
const NO_MESSAGE: Details = {
  upstream_unreachable: "Try again in a moment.",
  upstream_auth_failed: "Report the request id to the operator, who has to act.",
  upstream_unavailable: "Wait for the number of seconds in the Retry-After header, then try again.",
};

/** What replaces the catalogue's details, which are for messages that were sent. */
const DETAILS: Readonly<Record<FailedRequest, Details>> = {
  send: {},
  unsent: describeFailed("Try again; the message was not sent."),
  read: { ...NO_MESSAGE, ...describeFailed("Try again.") },
  end: {
    ...NO_MESSAGE,
    ...describeFailed("Try again; ending a chat that has ended already is no error."),
  },
  start: {
    ...NO_MESSAGE,
    ...describeFailed("Try again; a chat that was started by the failed request stays unused."),
  },
};
