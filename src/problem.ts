/**
 * Owns every refusal this service can give: one table, one class to throw, one renderer.
 * Nothing from an upstream body, an exception or the state ever reaches an answer from here;
 * titles and details are the constants below.
 */

interface ProblemDefinition {
  readonly status: number;
  readonly title: string;
  /** What the client can do about it, in one sentence. */
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
    title: "No session",
    detail: "Sign in and send the session token as a bearer token.",
  },
  session_invalid: {
    status: 401,
    title: "The session is not valid",
    detail: "Sign in again to get a valid session token.",
  },
  session_expired: {
    status: 401,
    title: "The session has expired",
    detail: "Sign in again to get a fresh session token.",
  },
  session_revoked: {
    status: 401,
    title: "The session was ended",
    detail: "Sign in again to get a new session.",
  },
  cross_site_request: {
    status: 403,
    title: "The request comes from a foreign site",
    detail: "Send it from this service's own origin, or have the operator list yours.",
  },
  workspace_unmapped: {
    status: 403,
    title: "The session has no workspace",
    detail: "Ask the operator to give this account's workspace access to chat.",
  },
  not_found: {
    status: 404,
    title: "Not found",
    detail: "Check the path against the API documentation.",
  },
  chat_not_found: {
    status: 404,
    title: "Chat not found",
    detail: "Check the chat id, or start a new chat.",
  },
  method_not_allowed: {
    status: 405,
    title: "Method not allowed",
    detail: "Use one of the methods in the Allow header.",
  },
  request_timeout: {
    status: 408,
    title: "The request took too long to arrive",
    detail: "Send the whole request body within ten seconds.",
  },
  chat_busy: {
    status: 409,
    title: "A message is being answered in this chat",
    detail: "Wait for the answer to the earlier message, then send this one.",
  },
  request_in_progress: {
    status: 409,
    title: "The request is still being worked on",
    detail: "Wait for the number of seconds in the Retry-After header, then repeat it.",
  },
  chat_ended: {
    status: 409,
    title: "The chat has ended",
    detail: "Start a new chat to go on.",
  },
  content_too_large: {
    status: 413,
    title: "The request body is too large",
    detail: "Send a smaller request body.",
  },
  unsupported_media_type: {
    status: 415,
    title: "The content type is not supported",
    detail: "Send application/json in UTF-8 without a content encoding.",
  },
  idempotency_key_reused: {
    status: 422,
    title: "The idempotency key was used for another message",
    detail: "Use a new key for every message, and the old one only to repeat it unchanged.",
  },
  message_rejected: {
    status: 422,
    title: "The message was rejected",
    detail: "Change the message before sending it again.",
  },
  rate_limited: {
    status: 429,
    title: "Too many requests",
    detail: "Wait for the number of seconds in the Retry-After header, then try again.",
  },
  internal_error: {
    status: 500,
    title: "Internal error",
    detail: "Report the request id to the operator.",
  },
  upstream_error: {
    status: 502,
    title: "The chat service failed",
    detail: "Check the chat before sending the message again, since it may have arrived.",
  },
  upstream_unreachable: {
    status: 502,
    title: "The chat service cannot be reached",
    detail: "Try again in a moment; the message was not sent.",
  },
  upstream_malformed: {
    status: 502,
    title: "The chat service gave an unusable answer",
    detail: "Check the chat before sending the message again, since it may have arrived.",
  },
  upstream_auth_failed: {
    status: 502,
    title: "The chat service refused this service",
    detail: "Report the request id to the operator, who has to act; the message was not sent.",
  },
  upstream_busy: {
    status: 503,
    title: "The chat service is busy",
    detail: "Wait for the number of seconds in the Retry-After header, then try again.",
  },
  upstream_unavailable: {
    status: 503,
    title: "The chat service is out",
    detail:
      "Wait for the number of seconds in the Retry-After header, then try again; the message was not sent.",
  },
  overloaded: {
    status: 503,
    title: "This service is at its capacity",
    detail: "Wait for the number of seconds in the Retry-After header, then try again.",
  },
  state_unavailable: {
    status: 503,
    title: "The state store cannot be reached",
    detail: "Wait for the number of seconds in the Retry-After header, then try again.",
  },
  auth_unavailable: {
    status: 503,
    title: "Sessions cannot be checked",
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
    detail: "Check the chat before sending the message again, since it may have arrived.",
  },
  outcome_unknown: {
    status: 504,
    title: "It is not known whether the request took effect",
    detail:
      "Repeat the request with its Idempotency-Key to look again; without one, check the chat first.",
  },
} as const satisfies Record<string, ProblemDefinition>;

export type ProblemCode = keyof typeof catalogue;

/** One fault of a request body: where (RFC 6901 JSON pointer) and what. */
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
  /** The names of the limits that refused (draft-ietf-httpapi-ratelimit-headers). */
  readonly violatedPolicies?: readonly string[];
  /** Replaces the catalogue's detail by another constant text, never by something received. */
  readonly detail?: string;
}

/** How soon to try again where nothing better is known; short, since most such faults are blips. */
const DEFAULT_RETRY_AFTER_SECONDS = 1;

/** A refusal. Throw it anywhere below the router: the code that runs the route answers with it. */
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

  /** The answer's headers beyond the common ones. */
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

  /** The body of RFC 9457 problem details. `instance` is the id of the request being answered. */
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

export const problemCodes: readonly ProblemCode[] = Object.keys(catalogue).filter(isProblemCode);

export function isProblemCode(text: string): text is ProblemCode {
  return Object.hasOwn(catalogue, text);
}

export function problemStatus(code: ProblemCode): number {
  return catalogue[code].status;
}
