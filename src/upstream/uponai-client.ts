/**
 * Owns the calls to UponAI: the only place that knows its paths and puts a token on a request.
 * Requests are built from nothing; no header or byte of the browser's gets here but the message
 * and the two ids that tie log lines together. It knows no session and no limit.
 */
import type { ChatId, WorkspaceId } from "../branded.ts";
import type { Clock } from "../clock.ts";
import type { ProblemCode } from "../problem.ts";
import { parseCompletion, type UpstreamMessage } from "./message-schema.ts";
import { createTokenRing, type TokenRing } from "./token-ring.ts";
import type { UpstreamReply, UpstreamTransport } from "./transport.ts";

/** Whom a call is for. */
export interface UpstreamAccount {
  readonly id: WorkspaceId;
  readonly apiTokens: readonly [string, ...string[]];
}

/** What ties a call to the request that caused it. */
export interface TraceIds {
  readonly requestId: string;
  readonly traceparent: string | undefined;
}

/** What happened on the wire, for the log. */
export interface CallRecord {
  /** The status UponAI answered; undefined when it did not. */
  readonly status: number | undefined;
  /** Time spent on the call, with its retries, in milliseconds. */
  readonly ms: number;
  /** Times that a request which had not left was sent anew, or another token was tried. */
  readonly retries: number;
}

export type CompletionOutcome =
  | {
      readonly kind: "answered";
      readonly messages: readonly UpstreamMessage[];
      readonly call: CallRecord;
    }
  | {
      readonly kind: "failed";
      readonly code: ProblemCode;
      readonly retryAfterSeconds?: number;
      readonly call: CallRecord;
    };

export interface UponaiClient {
  /**
   * Sends a message into a chat (`POST /api/chats/{chatId}/completions`). There is no idempotency
   * upstream: the message is sent again only when not one byte of it had left.
   */
  completeChat(
    account: UpstreamAccount,
    chatId: ChatId,
    content: string,
    trace: TraceIds,
  ): Promise<CompletionOutcome>;
}

/** Longest wait that is passed on to a client, in seconds. */
const RETRY_AFTER_MAX_SECONDS = 60;

/** @param timeoutMs longest time for a call, with its retries */
export function createUponaiClient(
  transport: UpstreamTransport,
  clock: Clock,
  timeoutMs: number,
): UponaiClient {
  // By account, not by workspace: two accounts can reach one workspace with tokens of their own.
  const rings = new WeakMap<UpstreamAccount, TokenRing>();

  const ringOf = (account: UpstreamAccount): TokenRing => {
    const known = rings.get(account);
    if (known !== undefined) return known;
    const ring = createTokenRing(account.apiTokens);
    rings.set(account, ring);
    return ring;
  };

  return {
    async completeChat(account, chatId, content, trace) {
      const startedMs = clock.monotonicMs();
      const ring = ringOf(account);
      const path = `/api/chats/${chatId}/completions`;
      const body = JSON.stringify({ workspaceId: account.id, content });
      const send = (token: string) => {
        const leftMs = Math.max(timeoutMs - (clock.monotonicMs() - startedMs), 1);
        const headers = buildHeaders(token, trace);
        return transport({ method: "POST", path, headers, body, timeoutMs: leftMs });
      };

      let token = ring.current();
      let retries = 0;
      let reply = await send(token);
      if (reply.kind === "not_sent" && reply.reason === "connect") {
        retries += 1;
        reply = await send(token);
      }
      if (reply.kind === "answer" && reply.status === 401) {
        const other = ring.next(token);
        if (other !== undefined) {
          token = other;
          retries += 1;
          reply = await send(token);
        }
      }
      const call: CallRecord = {
        status: reply.kind === "answer" ? reply.status : undefined,
        ms: clock.monotonicMs() - startedMs,
        retries,
      };
      return { ...readCompletion(reply, clock.epochMs()), call };
    },
  };
}

function buildHeaders(token: string, trace: TraceIds): Record<string, string> {
  const headers: Record<string, string> = {
    Authorization: `Bearer ${token}`,
    "Content-Type": "application/json",
    Accept: "application/json",
    "Accept-Encoding": "identity",
    "X-Request-Id": trace.requestId,
  };
  if (trace.traceparent !== undefined) headers["traceparent"] = trace.traceparent;
  return headers;
}

type Reading =
  | { readonly kind: "answered"; readonly messages: readonly UpstreamMessage[] }
  | { readonly kind: "failed"; readonly code: ProblemCode; readonly retryAfterSeconds?: number };

function readCompletion(reply: UpstreamReply, nowMs: number): Reading {
  switch (reply.kind) {
    case "not_sent":
      return { kind: "failed", code: "upstream_unreachable" };
    case "lost":
      return { kind: "failed", code: "upstream_error" };
    case "timeout":
      return { kind: "failed", code: "upstream_timeout" };
    case "unusable":
      return { kind: "failed", code: "upstream_malformed" };
    case "answer":
      return readAnswer(reply.status, reply.body, parseRetryAfter(reply.retryAfter, nowMs));
  }
}

function readAnswer(status: number, body: string, retryAfterSeconds: number | undefined): Reading {
  if (status === 200 || status === 201) {
    const messages = parseCompletion(body);
    return messages === undefined
      ? { kind: "failed", code: "upstream_malformed" }
      : { kind: "answered", messages };
  }
  if (status === 429 || (status === 503 && retryAfterSeconds !== undefined)) {
    return { kind: "failed", code: "upstream_busy", retryAfterSeconds: retryAfterSeconds ?? 1 };
  }
  return { kind: "failed", code: classifyStatus(status) };
}

/** UponAI documents no error bodies, so the status alone decides. */
function classifyStatus(status: number): ProblemCode {
  if (status === 400 || status === 422) return "message_rejected";
  if (status === 401 || status === 403) return "upstream_auth_failed";
  if (status === 404) return "chat_not_found";
  if (status === 409 || status === 410) return "chat_ended";
  return status >= 400 ? "upstream_error" : "upstream_malformed";
}

// RFC 9110 section 5.6.7: the one form that is sent, and two that a recipient must read as well.
const HTTP_DATE =
  /^(?:[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT|[A-Z][a-z]{5,8}, \d{2}-[A-Z][a-z]{2}-\d{2} \d{2}:\d{2}:\d{2} GMT|[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d{2}:\d{2}:\d{2} \d{4})$/;

/** The asctime form names no zone, and means GMT. */
function withZone(date: string): string {
  return date.endsWith("GMT") ? date : `${date} GMT`;
}

/** `Retry-After` in seconds, 1 to 60; RFC 9110 section 10.2.3 also allows a date. */
function parseRetryAfter(text: string | undefined, nowMs: number): number | undefined {
  if (text === undefined) return undefined;
  let seconds: number;
  if (/^\d+$/.test(text)) seconds = Number(text);
  // Only the one form of a date that senders may use: `Date.parse` would read nearly anything.
  else if (HTTP_DATE.test(text)) seconds = (Date.parse(withZone(text)) - nowMs) / 1_000;
  else return undefined;
  return Math.min(Math.max(Math.ceil(seconds), 1), RETRY_AFTER_MAX_SECONDS);
}
