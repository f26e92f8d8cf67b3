/**
 * Owns the port to distributed tracing: one span for each request, one for each call to UponAI. As
 * in the log, a span names a route's pattern, a status and a code, and nothing that a client sent.
 */
import type { UpstreamTransport } from "./upstream/transport.ts";

/** How something that was traced came out. */
export interface SpanOutcome {
  /** Undefined when there was no answer. */
  readonly status: number | undefined;
  /** The problem's code, or what became of a call. */
  readonly code?: string | undefined;
}

export interface TracedSpan {
  /** W3C `traceparent` that continues it. */
  readonly traceparent: string;
  end(outcome: SpanOutcome): void;
}

export interface Tracing {
  /**
   * @param traceparent the valid incoming one; undefined begins a new trace
   * @returns undefined for a route that is not traced
   */
  beginRequest(
    method: string,
    route: string,
    traceparent: string | undefined,
  ): TracedSpan | undefined;
  beginCall(method: string, traceparent: string | undefined): TracedSpan;
}

/** Gives each call a span of its own, retries included, and continues the trace upstream. */
export function traceTransport(transport: UpstreamTransport, tracing: Tracing): UpstreamTransport {
  return async (request) => {
    const span = tracing.beginCall(request.method, request.headers["traceparent"]);
    const headers = { ...request.headers, traceparent: span.traceparent };
    const reply = await transport({ ...request, headers });
    const status = reply.kind === "answer" ? reply.status : undefined;
    span.end({ status, code: reply.kind === "answer" ? undefined : reply.kind });
    return reply;
  };
}
