/**
 * Interface of distributed tracing: one span per request and one per call to UponAI. A span holds
 * only a method, a route pattern, a status and a code, and nothing else that a client sent.
 */
import type { UpstreamTransport } from "./upstream/transport.ts";

/** Result of the operation that a span covers. */
export interface SpanOutcome {
  /** HTTP status; undefined if there was no answer. */
  readonly status: number | undefined;
  /** Code of the problem, or the kind of failure of a call. */
  readonly code?: string | undefined;
}

/** A started span. `end` is called exactly once. */
export interface TracedSpan {
  /** W3C `traceparent` that makes a call a child of this span. */
  readonly traceparent: string;
  end(outcome: SpanOutcome): void;
}

/** Starts spans. */
export interface Tracing {
  /**
   * Starts the span of a request.
   *
   * @param traceparent a valid W3C `traceparent` to continue; undefined starts a new trace
   * @returns undefined if the route is not traced
   */
  beginRequest(
    method: string,
    route: string,
    traceparent: string | undefined,
  ): TracedSpan | undefined;
  /** Starts the span of a call to UponAI; `traceparent` as above. */
  beginCall(method: string, traceparent: string | undefined): TracedSpan;
}

/**
 * Wraps a transport: each call, retries included, gets its own span and sends its `traceparent`.
 */
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
