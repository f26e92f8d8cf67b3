/**
 * What a reply of UponAI's means: which problem it is to the client, and whether the request can have
 * had its effect. UponAI documents no error bodies, so the status decides, and the media type tells
 * UponAI's own refusals from the pages of proxies on the way.
 */
import type { ProblemCode } from "../problem.ts";
import type { UpstreamReply } from "./transport.ts";

/**
 * What became of a request that failed.
 *
 * - `not_taken`: certainly without effect, and may be sent again;
 * - `refused`: an answer that would be the same again;
 * - `unknown`: it may have had its effect, and nobody here can tell.
 */
export type Fate = "not_taken" | "refused" | "unknown";

export interface Failure {
  readonly code: ProblemCode;
  readonly fate: Fate;
  /** How soon to try again, 1 to 60 seconds, where UponAI says so or is busy. */
  readonly retryAfterSeconds?: number;
}

/** Longest wait that is passed on to a client, in seconds. */
const RETRY_AFTER_MAX_SECONDS = 60;

/** @param nowMs milliseconds since the epoch, for a `Retry-After` that is a date */
export function classifyReply(reply: UpstreamReply, nowMs: number): Failure {
  switch (reply.kind) {
    case "not_sent":
      return { code: "upstream_unreachable", fate: "not_taken" };
    case "lost":
      return { code: "outcome_unknown", fate: "unknown" };
    case "timeout":
      return { code: "upstream_timeout", fate: reply.sent ? "unknown" : "not_taken" };
    case "unusable":
      return { code: "upstream_malformed", fate: "unknown" };
    case "answer":
      return classifyStatus(
        reply.status,
        parseRetryAfter(reply.retryAfter, nowMs),
        canBeUponai(reply.contentType),
      );
  }
}

/**
 * What a call says of UponAI's health.
 *
 * - `answered`: UponAI works; a refusal (4xx) and an unusable answer show that as well;
 * - `failed`: it was reached, or may have been, and failed: 5xx, no answer in time, a lost connection;
 * - `not_reached`: no connection was made, or none in time.
 */
export type CallHealth = "answered" | "failed" | "not_reached";

export function judgeHealth(reply: UpstreamReply): CallHealth {
  switch (reply.kind) {
    case "not_sent":
      return "not_reached";
    case "timeout":
      return reply.sent ? "failed" : "not_reached";
    case "lost":
      return "failed";
    case "unusable":
      return "answered";
    case "answer":
      return reply.status >= 500 ? "failed" : "answered";
  }
}

/**
 * Whether an answer of this media type can be UponAI's own. UponAI speaks JSON, and a server in front
 * of it may refuse in plain text or without a body; HTML, XML and others are pages of a proxy, a
 * firewall or a portal. Parameters do not matter.
 */
export function canBeUponai(contentType: string | undefined): boolean {
  const type = contentType?.split(/[;,]/, 1)[0]?.trim().toLowerCase() ?? "";
  return type === "" || type === "text/plain" || /^(?:application|text)\/(?:.*\+)?json$/.test(type);
}

function classifyStatus(
  status: number,
  retryAfterSeconds: number | undefined,
  own: boolean,
): Failure {
  // Any server that limits calls does so before it passes them on.
  if (status === 429) {
    return { code: "upstream_busy", fate: "not_taken", retryAfterSeconds: retryAfterSeconds ?? 1 };
  }
  // Not so a page of a proxy: Varnish answers 503 with `Retry-After` also when UponAI took the
  // request and did not answer in time.
  if (status === 503 && retryAfterSeconds !== undefined && own) {
    return { code: "upstream_busy", fate: "not_taken", retryAfterSeconds };
  }
  if (status >= 500) return { code: "upstream_error", fate: "unknown" };
  if (status < 400 || !own) return { code: "upstream_malformed", fate: "unknown" };
  if (status === 401 || status === 403) return { code: "upstream_auth_failed", fate: "not_taken" };
  if (status === 404) return { code: "chat_not_found", fate: "not_taken" };
  if (status === 400 || status === 422) return { code: "message_rejected", fate: "refused" };
  if (status === 409 || status === 410) return { code: "chat_ended", fate: "refused" };
  return { code: "upstream_error", fate: "unknown" };
}

// RFC 9110 section 5.6.7: the one form that is sent, and two that a recipient must read as well.
/** Longest `Retry-After` that is read, in characters; the longest date has 33. */
const RETRY_AFTER_CHARS_MAX = 64;
const HTTP_DATE =
  /^(?:[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT|[A-Z][a-z]{5,8}, \d{2}-[A-Z][a-z]{2}-\d{2} \d{2}:\d{2}:\d{2} GMT|[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d{2}:\d{2}:\d{2} \d{4})$/;

/** The asctime form names no zone, and means GMT. */
function withZone(date: string): string {
  return date.endsWith("GMT") ? date : `${date} GMT`;
}

/** `Retry-After` in seconds, 1 to 60; RFC 9110 section 10.2.3 also allows a date. */
function parseRetryAfter(text: string | undefined, nowMs: number): number | undefined {
  if (text === undefined || text.length > RETRY_AFTER_CHARS_MAX) return undefined;
  let seconds: number;
  if (/^\d+$/.test(text)) seconds = Number(text);
  // Only the one form of a date that senders may use: `Date.parse` would read nearly anything.
  else if (HTTP_DATE.test(text)) seconds = (Date.parse(withZone(text)) - nowMs) / 1_000;
  else return undefined;
  return Math.min(Math.max(Math.ceil(seconds), 1), RETRY_AFTER_MAX_SECONDS);
}
