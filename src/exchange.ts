/**
 * Owns one request on its way through: its id, what the access line will say of it, and the making
 * of its answer. Every answer of the service is made here.
 */
import type { WorkspaceId } from "./branded.ts";
import type { Clock } from "./clock.ts";
import { createCorsHeaders } from "./http/cross-site.ts";
import { parseTraceparent, resolveRequestId } from "./http/request-id.ts";
import { describeDefect, type Logger, type LogLevel } from "./logger.ts";
import type { Metrics, RecoveryResult } from "./metrics.ts";
import { Problem, type ProblemCode } from "./problem.ts";
import type { TracedSpan, Tracing } from "./tracing.ts";
import type { CallRecord } from "./upstream/uponai-client.ts";

export interface Exchange {
  readonly request: Request;
  /** What the platform handed over with the request. */
  readonly env: unknown;
  readonly requestId: string;
  /** The route's pattern, never the path: paths hold chat ids. */
  readonly route: string;
  readonly startedMs: number;
  /** The headers that its answer will carry, whatever it says. What is learnt on the way adds to them. */
  readonly headers: Record<string, string>;
  /** Undefined where nothing is traced. */
  readonly span: TracedSpan | undefined;
  /** What is learnt on the way, for the access line. */
  workspace?: WorkspaceId;
  subjectHash?: string;
  call?: CallRecord;
  /** The answer was lost and found in the transcript. */
  recovered?: true;
  /** The answer was given before, and is given again. */
  replayed?: true;
}

export interface ExchangeParts {
  readonly clock: Clock;
  readonly createId: () => string;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly tracing?: Tracing | undefined;
  /** Headers of every answer of the service. */
  readonly commonHeaders: Readonly<Record<string, string>>;
  /** Origins whose pages may read answers. */
  readonly allowedOrigins: ReadonlySet<string>;
}

export function createExchange(
  parts: ExchangeParts,
  route: string,
  request: Request,
  env: unknown,
): Exchange {
  const { clock, createId, commonHeaders, allowedOrigins, tracing } = parts;
  const requestId = resolveRequestId(request.headers.get("x-request-id"), createId);
  const headers: Record<string, string> = { ...commonHeaders, "X-Request-Id": requestId };
  // Most operators list no origin; then nobody looks for one.
  if (allowedOrigins.size > 0) {
    Object.assign(headers, createCorsHeaders(request.headers.get("origin"), allowedOrigins));
  }
  const span = tracing?.beginRequest(request.method, route, readTraceparent(request));
  return { request, env, requestId, route, headers, span, startedMs: clock.monotonicMs() };
}

/** The trace that a call upstream continues: this request's own span, else the client's. */
export function resolveTraceparent({ span, request }: Exchange): string | undefined {
  return span === undefined ? readTraceparent(request) : span.traceparent;
}

function readTraceparent({ headers }: Request): string | undefined {
  return parseTraceparent(headers.get("traceparent"));
}

/** Makes an answer; `body` null is no body at all. */
export function answer(
  exchange: Exchange,
  status: number,
  body: string | null,
  headers: Readonly<Record<string, string>> = {},
): Response {
  return new Response(body, {
    status,
    headers: { ...exchange.headers, ...headers },
  });
}

/** Makes an answer of ready JSON text. */
export function answerJson(
  exchange: Exchange,
  status: number,
  json: string,
  headers?: Readonly<Record<string, string>>,
): Response {
  return new Response(json, {
    status,
    headers: { ...exchange.headers, "Content-Type": "application/json", ...headers },
  });
}

/** Runs a handler to its answer: refusals become problems, defects a bare 500, and both one line. */
export async function runExchange(
  parts: ExchangeParts,
  exchange: Exchange,
  handler: (exchange: Exchange) => Response | Promise<Response>,
): Promise<Response> {
  let problem: Problem | undefined;
  let response: Response;
  try {
    response = await handler(exchange);
  } catch (error) {
    problem = error instanceof Problem ? error : reportDefect(parts.log, exchange, error);
    const body = problem.body(exchange.requestId);
    response = answer(exchange, problem.status, body, problem.headers());
  }
  record(parts, exchange, response.status, problem);
  return response;
}

function reportDefect(log: Logger, exchange: Exchange, error: unknown): Problem {
  log.log("error", "defect", { reqId: exchange.requestId, ...describeDefect(error) });
  return new Problem("internal_error");
}

/** Writes the access line, counts what is in it, and ends the span. */
function record(
  { clock, log, metrics }: ExchangeParts,
  exchange: Exchange,
  status: number,
  problem: Problem | undefined,
): void {
  const { request, requestId, route, startedMs, workspace, subjectHash, call } = exchange;
  const { recovered, replayed } = exchange;
  const ms = clock.monotonicMs() - startedMs;
  const code = problem?.code;
  const violatedPolicies = problem?.extras.violatedPolicies;
  exchange.span?.end({ status, code });
  metrics.countRequest({
    route,
    status,
    code,
    ms,
    upstreamMs: call?.ms,
    violatedPolicies,
    recovery: nameRecovery(recovered, code),
    replayed,
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
  });
}

function nameRecovery(
  recovered: boolean | undefined,
  code: ProblemCode | undefined,
): RecoveryResult | undefined {
  if (recovered === true) return "recovered";
  return code === "outcome_unknown" ? "unknown" : undefined;
}

function selectLevel(status: number, code: ProblemCode | undefined): LogLevel {
  // The upstream refuses our token: nothing works until an operator acts.
  if (code === "internal_error" || code === "upstream_auth_failed") return "error";
  return status >= 500 ? "warn" : "info";
}

/** Hundredths of a millisecond are all that means anything. */
function roundMs(ms: number): number {
  return Math.round(ms * 100) / 100;
}
