import type { ProblemCode } from "./api.ts";

/**
 * What a `ChatError` is about: a problem of the service, or one of the client's own codes.
 *
 * - `session_required`: 401, also after `token()` was asked again. Sign in, then retry.
 * - `unreachable`: no answer arrived.
 * - `not_a_problem`: an answer that is not from the service, such as a proxy's page.
 * - `gave_up`: there was no answer within `giveUpAfterMs`; `cause` is the last error.
 */
export type ChatErrorCode =
  ProblemCode | "session_required" | "unreachable" | "not_a_problem" | "gave_up";

/** Members of a `ChatError` but for its code. */
export interface ChatErrorFields {
  /** HTTP status; 0 without an answer. */
  readonly status: number;
  readonly title?: string | undefined;
  readonly detail?: string | undefined;
  readonly requestId?: string | undefined;
  readonly retryAfterSeconds?: number | undefined;
  readonly sent: "no" | "refused" | "unknown";
  readonly violatedPolicies?: readonly string[] | undefined;
  readonly cause?: unknown;
}

/** A request that has no answer, or was refused. Decide by `code`, never by texts. */
export class ChatError extends Error {
  override readonly name = "ChatError";
  declare readonly code: ChatErrorCode;
  /** HTTP status; 0 without an answer. */
  declare readonly status: number;
  /** What happened, in English. Empty if the answer was not from the service. */
  declare readonly title: string;
  /** What to do about it, in English. Empty if the answer was not from the service. */
  declare readonly detail: string;
  /** Id under which the operator finds the request in the log. */
  declare readonly requestId: string | undefined;
  /** Seconds after which the same request may succeed. */
  declare readonly retryAfterSeconds: number | undefined;
  /**
   * Whether the message reached UponAI: `no`; `refused` by UponAI; `unknown`: repeat it with the same
   * key, never with a new one.
   */
  declare readonly sent: "no" | "refused" | "unknown";
  /** Names of the limits that refused the request (429). */
  declare readonly violatedPolicies: readonly string[];

  constructor(code: ChatErrorCode, fields: ChatErrorFields) {
    super(fields.title ?? code, { cause: fields.cause });
    this.code = code;
    this.status = fields.status;
    this.title = fields.title ?? "";
    this.detail = fields.detail ?? "";
    this.requestId = fields.requestId;
    this.retryAfterSeconds = fields.retryAfterSeconds;
    this.sent = fields.sent;
    this.violatedPolicies = fields.violatedPolicies ?? [];
  }
}
