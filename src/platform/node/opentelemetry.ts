/**
 * Tracing by OpenTelemetry. Loaded only where `OTEL_EXPORTER_OTLP_ENDPOINT` is set: its packages are
 * optional, and a deployment without traces neither installs nor loads them.
 */
import { ROOT_CONTEXT, type Span, SpanKind, SpanStatusCode, trace } from "@opentelemetry/api";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-http";
import { defaultResource, resourceFromAttributes } from "@opentelemetry/resources";
import { BatchSpanProcessor, TracerProvider } from "@opentelemetry/sdk-trace";

import type { Config } from "../../config/config.ts";
import type { SpanOutcome, TracedSpan, Tracing } from "../../tracing.ts";
import { within } from "../../within.ts";

export interface NodeTracing extends Tracing {
  /** Sends what is left, as long as that takes no longer than a stopping process can wait. */
  close(): Promise<void>;
}

/** How long a stop waits for the collector, in milliseconds. */
const FLUSH_MS = 2_000;

/** Asked every few seconds by machines; nobody looks for their traces. */
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

/** W3C Trace Context, section 3.2; whoever calls has made sure of the form. */
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
  // A server's 4xx is its client's fault; a client's is a failed call (OpenTelemetry's HTTP rules).
  if (status === undefined || status >= (kind === SpanKind.SERVER ? 500 : 400)) {
    span.setStatus({ code: SpanStatusCode.ERROR });
  }
  span.end();
}
