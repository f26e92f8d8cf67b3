/** What the chat routes share: their parts, and the caller. */
import type { AdmissionState } from "../admission/admission.ts";
import type { ChatId } from "../branded.ts";
import type { Clock } from "../clock.ts";
import { type Exchange, resolveTraceparent } from "../exchange.ts";
import type { Hashing } from "../hashing.ts";
import type { LoadGate } from "../load-gate.ts";
import type { Logger } from "../logger.ts";
import { Problem } from "../problem.ts";
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

/** The answer to what failed upstream, with UponAI's own word on when to try again. */
export function describeFailure({
  code,
  retryAfterSeconds,
}: Pick<Failure, "code" | "retryAfterSeconds">): Problem {
  return new Problem(code, retryAfterSeconds === undefined ? {} : { retryAfterSeconds });
}
