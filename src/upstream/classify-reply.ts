/**
 * Classifies what the transport returned for a call: the problem code and disposition of a failure,
 * and what the call says about UponAI's health. UponAI documents no error bodies, so the status
 * decides. The media type distinguishes UponAI's own refusals from the pages of proxies between.
 */
import type { ProviderFailure } from "../chat/chat-provider.ts";
import type { UpstreamReply } from "./transport.ts";

/** Longest `Retry-After` that is passed on to a client, in seconds. */
const RETRY_AFTER_MAX_SECONDS = 60;

/**
 * Returns the failure that a reply means; for any reply that is not a usable success.
 *
 * @param nowMs milliseconds since the epoch, for a `Retry-After` that is a date
 */
export function classifyReply(reply: UpstreamReply, nowMs: number): ProviderFailure {
  switch (reply.kind) {
    case "not_sent":
      return { code: "upstream_unreachable", disposition: "not_taken" };
    case "lost":
      return { code: "outcome_unknown", disposition: "unknown" };
    case "timeout":
      return { code: "upstream_timeout", disposition: reply.sent ? "unknown" : "not_taken" };
    case "unusable":
      return { code: "upstream_malformed", disposition: "unknown" };
    case "answer":
      return classifyStatus(
        reply.status,
        parseRetryAfter(reply.retryAfter, nowMs),
        canBeUponai(reply.contentType),
      );
  }
}

/**
 * What a call says about UponAI's health.
 *
 * - `answered`: UponAI works; a refusal (4xx) and an unusable answer show this as well;
 * - `failed`: UponAI was or may have been reached, and failed: 5xx, no answer in time, a lost
 *   connection;
 * - `not_reached`: no connection was made, or none in time.
 */
export type CallHealth = "answered" | "failed" | "not_reached";

/** Returns what a reply says about UponAI's health; the circuits count it. */
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
 * Whether an answer of this media type can come from UponAI. UponAI sends JSON, and the server in
 * front of it may refuse in plain text or without a body. HTML, XML and other types are pages of a
 * proxy, a firewall or a captive portal. Parameters such as `charset` are ignored.
 */
export function canBeUponai(contentType: string | undefined): boolean {
  const type = contentType?.split(/[;,]/, 1)[0]?.trim().toLowerCase() ?? "";
  return type === "" || type === "text/plain" || /^(?:application|text)\/(?:.*\+)?json$/.test(type);
}

function classifyStatus(
  status: number,
  retryAfterSeconds: number | undefined,
  own: boolean,
): ProviderFailure {
  // A server that limits calls does so before it passes them on, so the request had no effect.
  if (status === 429) {
    return {
      code: "upstream_busy",
      disposition: "not_taken",
      retryAfterSeconds: retryAfterSeconds ?? 1,
    };
  }
  // A proxy's page does not prove this: Varnish also answers 503 with `Retry-After` if UponAI took
  // the request and did not answer in time.
  if (status === 503 && retryAfterSeconds !== undefined && own) {
    return { code: "upstream_busy", disposition: "not_taken", retryAfterSeconds };
  }
  if (status >= 500) return { code: "upstream_error", disposition: "unknown" };
  if (status < 400 || !own) return { code: "upstream_malformed", disposition: "unknown" };
  if (status === 401 || status === 403)
    return { code: "upstream_auth_failed", disposition: "not_taken" };
  if (status === 404) return { code: "chat_not_found", disposition: "not_taken" };
  if (status === 400 || status === 422) return { code: "message_rejected", disposition: "taken" };
  if (status === 409 || status === 410) return { code: "chat_ended", disposition: "taken" };
  return { code: "upstream_error", disposition: "unknown" };
}

/** Longest `Retry-After` that is read, in characters; the longest date has 33. */
const RETRY_AFTER_CHARS_MAX = 64;
// RFC 9110 section 5.6.7: the form that senders use, and two obsolete forms that recipients must read.
const HTTP_DATE =
  /^(?:[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT|[A-Z][a-z]{5,8}, \d{2}-[A-Z][a-z]{2}-\d{2} \d{2}:\d{2}:\d{2} GMT|[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d{2}:\d{2}:\d{2} \d{4})$/;

/** Adds the zone to a date in asctime form, which has none and means GMT. */
function withZone(date: string): string {
  return date.endsWith("GMT") ? date : `${date} GMT`;
}

/**
 * Parses `Retry-After`, a number of seconds or a date (RFC 9110 section 10.2.3).
 *
 * @returns seconds, 1 to 60; undefined if the header is absent or neither
 */
function parseRetryAfter(text: string | undefined, nowMs: number): number | undefined {
  if (text === undefined || text.length > RETRY_AFTER_CHARS_MAX) return undefined;
  let seconds: number;
  if (/^\d+$/.test(text)) seconds = Number(text);
  // Checked before `Date.parse`, which accepts nearly any text.
  else if (HTTP_DATE.test(text)) seconds = (Date.parse(withZone(text)) - nowMs) / 1_000;
  else return undefined;
  return Math.min(Math.max(Math.ceil(seconds), 1), RETRY_AFTER_MAX_SECONDS);
}
