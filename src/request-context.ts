/**
 * The context of one request, and the code that runs its handler. All answers of the service are
 * created here; each gets its request id, its headers, one access log line, its metrics and its
 * span.
 */
import type { WorkspaceId } from "./branded.ts";
import type { Clock } from "./clock.ts";
import { createCorsHeaders } from "./http/cross-site.ts";
import { parseTraceparent, resolveRequestId } from "./http/request-head.ts";
import { describeDefect, type Logger, type LogLevel } from "./logger.ts";
import type { Metrics, RecoveryResult, WaitResult } from "./metrics.ts";
import { Problem, type ProblemCode } from "./problem.ts";
import type { TracedSpan, Tracing } from "./tracing.ts";
import type { CallRecord, TraceIds } from "./chat/chat-provider.ts";

/** Context of one request: its input, and what later steps learn for the answer and the log. */
export interface RequestContext {
  readonly request: Request;
  /** What the platform passed along with the request; only the platform reads it. */
  readonly env: unknown;
  readonly requestId: string;
  /** The pattern of the route. Never the path, which holds chat ids. */
  readonly route: string;
  /** Monotonic time of arrival, in milliseconds. */
  readonly startedMs: number;
  /** Headers of the answer, success or problem. Later steps add to them. */
  readonly headers: Record<string, string>;
  /** Undefined if tracing is off or the route is not traced. */
  readonly span: TracedSpan | undefined;
  /** The members below are set by later steps, for the access log line. */
  workspace?: WorkspaceId;
  subjectHash?: string;
  call?: CallRecord;
  /** The answer was lost and was recovered from the transcript. */
  recovered?: true;
  /** The answer was stored by an earlier request and is given again. */
  replayed?: true;
  /** How long the request waited for a running message, in milliseconds, and what ended the wait. */
  wait?: { readonly ms: number; readonly end: WaitResult };
  /** The message of this request, which may go on after its answer; never rejects. */
  ongoing?: Promise<unknown>;
}

/** What `createRequestContext` and `handleRequest` need from the application. */
export interface RequestContextParts {
  readonly clock: Clock;
  readonly createId: () => string;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly tracing?: Tracing | undefined;
  /** Headers that all answers of the service have. */
  readonly commonHeaders: Readonly<Record<string, string>>;
  /** Origins whose pages may read answers (CORS). */
  readonly allowedOrigins: ReadonlySet<string>;
}

/**
 * Creates the context of one request, and begins its span if tracing is on.
 *
 * @param route the pattern of the route, or `unmatched`
 * @param env what the platform passed along with the request
 */
export function createRequestContext(
  parts: RequestContextParts,
  route: string,
  request: Request,
  env: unknown,
): RequestContext {
  const { clock, createId, commonHeaders, allowedOrigins, tracing } = parts;
  const requestId = resolveRequestId(request.headers.get("x-request-id"), createId);
  const headers: Record<string, string> = { ...commonHeaders, "X-Request-Id": requestId };
  // Most operators list no origins. They are spared the look-up of the header.
  if (allowedOrigins.size > 0) {
    Object.assign(headers, createCorsHeaders(request.headers.get("origin"), allowedOrigins));
  }
  const span = tracing?.beginRequest(request.method, route, readTraceparent(request));
  return { request, env, requestId, route, headers, span, startedMs: clock.monotonicMs() };
}

/**
 * Returns the ids that connect a call to UponAI with this request. The `traceparent` is that of this
 * request's span, else the client's valid one.
 */
export function traceOf({ requestId, span, request }: RequestContext): TraceIds {
  const traceparent = span === undefined ? readTraceparent(request) : span.traceparent;
  return { requestId, traceparent };
}

function readTraceparent({ headers }: Request): string | undefined {
  return parseTraceparent(headers.get("traceparent"));
}

/** Creates an answer. `body` null is an answer without a body; `headers` win over the context's. */
export function answer(
  context: RequestContext,
  status: number,
  body: string | null,
  headers: Readonly<Record<string, string>> = {},
): Response {
  return new Response(body, {
    status,
    headers: { ...context.headers, ...headers },
  });
}

/** Creates an answer whose body is the given JSON text. */
export function answerJson(
  context: RequestContext,
  status: number,
  json: string,
  headers?: Readonly<Record<string, string>>,
): Response {
  return new Response(json, {
    status,
    headers: { ...context.headers, "Content-Type": "application/json", ...headers },
  });
}

/**
 * Runs a handler and returns its answer. A thrown `Problem` becomes its error answer. Any other
 * error is a defect: it is logged with its stack, and answered with 500 `internal_error` without
 * it.
 */
export async function handleRequest(
  parts: RequestContextParts,
  context: RequestContext,
  handler: (context: RequestContext) => Response | Promise<Response>,
): Promise<Response> {
  let problem: Problem | undefined;
  let response: Response;
  try {
    response = await handler(context);
  } catch (error) {
    problem = error instanceof Problem ? error : reportDefect(parts.log, context, error);
    const body = problem.body(context.requestId);
    response = answer(context, problem.status, body, problem.headers());
  }
  record(parts, context, response.status, problem);
  return response;
}

/** Logs a defect with its stack, and returns the problem to answer with. */
export function reportDefect(log: Logger, context: RequestContext, error: unknown): Problem {
  log.log("error", "defect", { reqId: context.requestId, ...describeDefect(error) });
  return new Problem("internal_error");
}

/** Writes the access log line, counts the request in the metrics, and ends the span. */
function record(
  { clock, log, metrics }: RequestContextParts,
  context: RequestContext,
  status: number,
  problem: Problem | undefined,
): void {
  const { request, requestId, route, startedMs, workspace, subjectHash, call } = context;
  const { recovered, replayed, wait } = context;
  const ms = clock.monotonicMs() - startedMs;
  const code = problem?.code;
  const violatedPolicies = problem?.extras.violatedPolicies;
  context.span?.end({ status, code });
  metrics.countRequest({
    route,
    status,
    code,
    ms,
    upstreamMs: call?.ms,
    violatedPolicies,
    recovery: toRecoveryResult(recovered, code),
    replayed,
    wait: wait?.end,
  });
  log.log(selectLevel(status, code), "request", {
    reqId: requestId,
    method: request.method,
    route,
    status,
    code,
    ms: roundMs(ms),
    workspace,
    subjectHash,
    upstreamStatus: call?.status,
    upstreamMs: call === undefined ? undefined : roundMs(call.ms),
    retries: call?.retries,
    recovered,
    replayed,
    waitedMs: wait === undefined ? undefined : roundMs(wait.ms),
  });
}

function toRecoveryResult(
  recovered: boolean | undefined,
  code: ProblemCode | undefined,
): RecoveryResult | undefined {
  if (recovered === true) return "recovered";
  return code === "outcome_unknown" ? "unknown" : undefined;
}

function selectLevel(status: number, code: ProblemCode | undefined): LogLevel {
  // `upstream_auth_failed`: UponAI refuses the API token, so no message works until an operator
  // acts.
  if (code === "internal_error" || code === "upstream_auth_failed") return "error";
  // Anyone can cause it with a made-up key id. The fetch that failed has its own line, at error level.
  if (code === "auth_unavailable") return "info";
  return status >= 500 ? "warn" : "info";
}

/** Rounds to hundredths of a millisecond; further digits are noise. */
export function roundMs(ms: number): number {
  return Math.round(ms * 100) / 100;
}
