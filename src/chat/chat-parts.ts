/** What the chat routes share: their parts, the caller, and the problems of failed calls. */
import type { AdmissionState } from "../admission/admission.ts";
import type { ChatId } from "../branded.ts";
import type { Clock } from "../clock.ts";
import type { Hashing } from "../hashing.ts";
import type { LoadGate } from "../load-gate.ts";
import type { Logger } from "../logger.ts";
import type { Metrics } from "../metrics.ts";
import { Problem, type ProblemCode } from "../problem.ts";
import type { Session } from "../session/session.ts";
import type { Waits } from "../waits.ts";
import type { Workspace } from "../workspace.ts";
import type { ChatProvider, ProviderFailure } from "./chat-provider.ts";
import type { NotFoundDelay } from "./not-found-delay.ts";
import type { MessageOutcome } from "./present-answer.ts";

/** Which chats a session without a `chats` claim may use; see `CHAT_ACCESS`. */
export type ChatAccessMode = "first-use" | "claim" | "workspace";

export interface ChatParts {
  readonly state: AdmissionState;
  readonly provider: ChatProvider;
  readonly clock: Clock;
  readonly hashing: Hashing;
  readonly gate: LoadGate;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly waits: Waits<MessageOutcome>;
  readonly createId: () => string;
  readonly pause: (ms: number) => Promise<void>;
  readonly notFoundDelay: NotFoundDelay;
  readonly chatAccess: ChatAccessMode;
  /** Longest search for a lost answer, in milliseconds. */
  readonly recoveryWindowMs: number;
  readonly exposeToolCalls: boolean;
  /** Path before all routes as browsers see it; empty: none. */
  readonly basePath: string;
}

/** The client of a request, after its guard has verified the session and resolved the workspace. */
export interface Caller {
  readonly session: Session;
  readonly workspace: Workspace;
  /** Normalised address of the client. */
  readonly addressKey: string;
}

/** A caller and the chat that its request is about. */
export interface ChatCaller extends Caller {
  readonly chatId: ChatId;
}

/**
 * The kind of request for which a call to UponAI failed. `unsent` is a message that certainly was not
 * taken; `send` is a message that may have been taken.
 */
export type FailedRequest = "send" | "unsent" | "read" | "end" | "start";

/** Creates the problem for a failed call, with UponAI's `Retry-After` if it sent one. */
export function describeFailure(
  { code, retryAfterSeconds }: Omit<ProviderFailure, "disposition">,
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

/** Replacements for the catalogue's details, which are written for messages that were sent. */
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
