/**
 * Tracing with OpenTelemetry. Loaded only where `OTEL_EXPORTER_OTLP_ENDPOINT` is set: its packages
 * are optional, and a deployment without traces neither installs nor loads them.
 */
import { ROOT_CONTEXT, type Span, SpanKind, SpanStatusCode, trace } from "@opentelemetry/api";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-http";
import { defaultResource, resourceFromAttributes } from "@opentelemetry/resources";
import { BatchSpanProcessor, TracerProvider } from "@opentelemetry/sdk-trace";

import type { Config } from "../../config/config.ts";
import type { SpanOutcome, TracedSpan, Tracing } from "../../tracing.ts";
import { within } from "../../within.ts";

export interface NodeTracing extends Tracing {
  /** Sends the spans that are left; waits for the collector for at most 2 s. */
  close(): Promise<void>;
}

/** Longest wait of a stop for the collector, in milliseconds. */
const FLUSH_MS = 2_000;

/** Routes that machines call every few seconds. Their traces are of no use. */
const UNTRACED: ReadonlySet<string> = new Set(["/healthz", "/readyz", "/metrics"]);

/**
 * Creates the tracing of the process.
 *
 * @param endpoint base URL of an OTLP/HTTP collector
 * @param serviceName `service.name` of every span
 */
export function createOpenTelemetry({
  endpoint,
  serviceName,
}: NonNullable<Config["traces"]>): NodeTracing {
  const exporter = new OTLPTraceExporter({ url: `${endpoint.replace(/\/$/, "")}/v1/traces` });
  const provider = new TracerProvider({
    resource: defaultResource().merge(resourceFromAttributes({ "service.name": serviceName })),
    spanProcessors: [new BatchSpanProcessor({ exporter })],
  });
  const tracer = provider.getTracer("uponai-bff");

  const begin = (
    name: string,
    kind: SpanKind,
    traceparent: string | undefined,
    attributes: Record<string, string>,
  ): TracedSpan => {
    const span = tracer.startSpan(name, { kind, attributes }, readParent(traceparent));
    return { traceparent: writeTraceparent(span), end: (outcome) => endSpan(span, outcome, kind) };
  };

  return {
    beginRequest: (method, route, traceparent) => {
      if (UNTRACED.has(route)) return undefined;
      return begin(`${method} ${route}`, SpanKind.SERVER, traceparent, {
        "http.request.method": method,
        "http.route": route,
      });
    },
    beginCall: (method, traceparent) =>
      begin(`${method} UponAI`, SpanKind.CLIENT, traceparent, { "http.request.method": method }),
    close: () => within(FLUSH_MS, provider.shutdown()),
  };
}

/** Reads the parent span (W3C Trace Context section 3.2). The caller has validated the format. */
function readParent(traceparent: string | undefined) {
  const [, traceId, spanId, flags] = traceparent?.split("-") ?? [];
  if (traceId === undefined || spanId === undefined || flags === undefined) return ROOT_CONTEXT;
  const traceFlags = Number.parseInt(flags, 16);
  return trace.setSpanContext(ROOT_CONTEXT, { traceId, spanId, traceFlags, isRemote: true });
}

function writeTraceparent(span: Span): string {
  const { traceId, spanId, traceFlags } = span.spanContext();
  return `00-${traceId}-${spanId}-${traceFlags.toString(16).padStart(2, "0")}`;
}

function endSpan(span: Span, { status, code }: SpanOutcome, kind: SpanKind): void {
  if (status !== undefined) span.setAttribute("http.response.status_code", status);
  if (code !== undefined) span.setAttribute("error.type", code);
  // OpenTelemetry's rules for HTTP: a 4xx is an error of a client's call, but not of a server.
  if (status === undefined || status >= (kind === SpanKind.SERVER ? 500 : 400)) {
    span.setStatus({ code: SpanStatusCode.ERROR });
  }
  span.end();
}
