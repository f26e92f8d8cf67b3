/**
 * All error answers of this service as RFC 9457 problem details: the catalogue of codes, and the
 * error class that carries a code to the answer. Titles and details are constants, so that no text
 * of UponAI, of an exception or of the state can get into an answer.
 */

interface ProblemDefinition {
  readonly status: number;
  /** What happened and what it means: one sentence without a full stop. */
  readonly title: string;
  /**
   * What to do about it: one sentence. It speaks of a message only where the code can answer
   * nothing but a message, or where `describeFailure` in `chat/` replaces it for the other routes.
   */
  readonly detail: string;
}

const catalogue = {
  invalid_request: {
    status: 400,
    title: "The request is not valid",
    detail: "Correct the request as described in the API documentation and send it again.",
  },
  session_missing: {
    status: 401,
    title: "The request carries no session",
    detail: "Sign in, then send the session token as a bearer token.",
  },
  session_invalid: {
    status: 401,
    title: "The session token or session cookie is not valid",
    detail: "Sign in again to get a valid session.",
  },
  session_expired: {
    status: 401,
    title: "The session has expired",
    detail: "Sign in again to get a new session.",
  },
  session_revoked: {
    status: 401,
    title: "The session was ended by a logout or by the operator",
    detail: "Sign in again to get a new session.",
  },
  cross_site_request: {
    status: 403,
    title: "A session cookie is not accepted from this origin",
    detail:
      "Send the request from a page of this service's own origin, or ask the operator to allow your origin.",
  },
  workspace_unmapped: {
    status: 403,
    title: "No workspace is configured for this session",
    detail: "Ask the operator to give this account's workspace access to chat.",
  },
  not_found: {
    status: 404,
    title: "This path does not exist or is turned off",
    detail: "Check the path against the API documentation.",
  },
  chat_not_found: {
    status: 404,
    title: "The chat was not found",
    detail: "Check the chat id, or start a new chat.",
  },
  method_not_allowed: {
    status: 405,
    title: "This path does not support this method",
    detail: "Use one of the methods that the Allow header lists.",
  },
  request_timeout: {
    status: 408,
    title: "The request body took too long to arrive",
    detail: "Send the whole request body within ten seconds.",
  },
  chat_busy: {
    status: 409,
    title: "The chat is still answering an earlier message",
    detail: "Wait for the answer to the earlier message, then send this one again.",
  },
  request_in_progress: {
    status: 409,
    title: "The first request with this idempotency key is still in progress",
    detail:
      "Wait for the number of seconds in the Retry-After header, then repeat the request with the same key.",
  },
  chat_ended: {
    status: 409,
    title: "The chat has ended",
    detail: "Start a new chat to continue.",
  },
  content_too_large: {
    status: 413,
    title: "The request is too large",
    detail: "Send a smaller request body.",
  },
  unsupported_media_type: {
    status: 415,
    title: "The content type or content encoding is not supported",
    detail: "Send the body as application/json in UTF-8, without a Content-Encoding header.",
  },
  idempotency_key_reused: {
    status: 422,
    title: "The idempotency key was used before with another message",
    detail: "Use a new key for each new message, and the same key only to repeat the same message.",
  },
  message_rejected: {
    status: 422,
    title: "The chat service rejected the message",
    detail: "Change the message, then send it again.",
  },
  rate_limited: {
    status: 429,
    title: "Too many requests",
    detail: "Wait for the number of seconds in the Retry-After header, then try again.",
  },
  internal_error: {
    status: 500,
    title: "This service failed because of an internal error",
    detail: "Report the request id to the operator.",
  },
  upstream_error: {
    status: 502,
    title: "The chat service failed",
    detail: "Check the chat before you send the message again, because it may have arrived.",
  },
  upstream_unreachable: {
    status: 502,
    title: "The chat service cannot be reached",
    detail: "Try again in a moment; the message was not sent.",
  },
  upstream_malformed: {
    status: 502,
    title: "The chat service gave an answer that cannot be used",
    detail: "Check the chat before you send the message again, because it may have arrived.",
  },
  upstream_auth_failed: {
    status: 502,
    title: "The chat service refused this service's API token",
    detail:
      "Report the request id to the operator, who must correct the API token; the message was not sent.",
  },
  upstream_busy: {
    status: 503,
    title: "The chat service is busy",
    detail: "Wait for the number of seconds in the Retry-After header, then try again.",
  },
  upstream_unavailable: {
    status: 503,
    title: "The chat service keeps failing, so calls to it are paused",
    detail:
      "Wait for the number of seconds in the Retry-After header, then try again; the message was not sent.",
  },
  overloaded: {
    status: 503,
    title: "This service has too many requests in progress",
    detail: "Wait for the number of seconds in the Retry-After header, then try again.",
  },
  state_unavailable: {
    status: 503,
    title: "This service cannot reach its state store",
    detail: "Wait for the number of seconds in the Retry-After header, then try again.",
  },
  auth_unavailable: {
    status: 503,
    title: "This service cannot check sessions at the moment",
    detail: "Wait for the number of seconds in the Retry-After header, then try again.",
  },
  shutting_down: {
    status: 503,
    title: "This instance is shutting down",
    detail: "Try again; another instance will answer.",
  },
  upstream_timeout: {
    status: 504,
    title: "The chat service did not answer in time",
    detail: "Check the chat before you send the message again, because it may have arrived.",
  },
  outcome_unknown: {
    status: 504,
    title: "The request may or may not have taken effect",
    detail:
      "Repeat the request with the same Idempotency-Key to check again, or check the chat first if it had no key.",
  },
} as const satisfies Record<string, ProblemDefinition>;

export type ProblemCode = keyof typeof catalogue;

/**
 * One fault of a request body: the faulty member as an RFC 6901 JSON pointer, and what is wrong.
 */
export interface RequestFault {
  readonly pointer: string;
  readonly detail: string;
}

export interface ProblemExtras {
  /** Seconds for `Retry-After`; whole, at least 1. Every 429 and 503 carries one. */
  readonly retryAfterSeconds?: number;
  /** Further headers of the answer, such as `Allow` or `RateLimit`. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly errors?: readonly RequestFault[];
  /** Names of the limits that refused the request (draft-ietf-httpapi-ratelimit-headers). */
  readonly violatedPolicies?: readonly string[];
  /** Replaces the catalogue's detail. A constant of this program, never received text. */
  readonly detail?: string;
}

/** `Retry-After` of a 503 without a better value, in seconds. Short: most such faults are brief. */
const DEFAULT_RETRY_AFTER_SECONDS = 1;

/** An error answer. Thrown anywhere below the router; `handleRequest` turns it into the response. */
export class Problem extends Error {
  override readonly name = "Problem";
  readonly code: ProblemCode;
  readonly extras: ProblemExtras;

  constructor(code: ProblemCode, extras: ProblemExtras = {}) {
    super(code);
    this.code = code;
    this.extras = extras;
  }

  get status(): number {
    return catalogue[this.code].status;
  }

  /** The headers that this answer has in addition to the common ones. */
  headers(): Record<string, string> {
    const headers: Record<string, string> = { "Content-Type": "application/problem+json" };
    const status = this.status;
    if (status === 401) {
      // RFC 6750 section 3.1: no error code when the request carried no credentials at all.
      headers["WWW-Authenticate"] =
        this.code === "session_missing" ? "Bearer" : 'Bearer error="invalid_token"';
    }
    const retryAfter =
      this.extras.retryAfterSeconds ?? (status === 503 ? DEFAULT_RETRY_AFTER_SECONDS : undefined);
    if (retryAfter !== undefined) headers["Retry-After"] = String(retryAfter);
    return this.extras.headers === undefined ? headers : { ...headers, ...this.extras.headers };
  }

  /**
   * The body: RFC 9457 problem details as JSON text.
   *
   * @param instance id of the request that is answered; for a replayed problem that of the repeat
   */
  body(instance: string): string {
    const { status, title, detail } = catalogue[this.code];
    return JSON.stringify({
      type: `urn:uponai-bff:problem:${this.code}`,
      title,
      status,
      detail: this.extras.detail ?? detail,
      instance,
      code: this.code,
      errors: this.extras.errors,
      "violated-policies": this.extras.violatedPolicies,
    });
  }
}

/** All codes, in the order of the catalogue. */
export const problemCodes: readonly ProblemCode[] = Object.keys(catalogue).filter(isProblemCode);

/** Tells whether a text is a code of the catalogue; members of `Object.prototype` are not. */
export function isProblemCode(text: string): text is ProblemCode {
  return Object.hasOwn(catalogue, text);
}

/** The HTTP status of a code. */
export function problemStatus(code: ProblemCode): number {
  return catalogue[code].status;
}
