/**
 * Owns one request on its way through: its id, what the access line will say of it, and the making
 * of its answer. Every answer of the service is made here.
 */
import type { WorkspaceId } from "./branded.ts";
import type { Clock } from "./clock.ts";
import { COMMON_HEADERS } from "./http/common-headers.ts";
import { resolveRequestId } from "./http/request-id.ts";
import { describeDefect, type Logger, type LogLevel } from "./logger.ts";
import { Problem, type ProblemCode } from "./problem.ts";
import type { CallRecord } from "./upstream/uponai-client.ts";

export interface Exchange {
  readonly request: Request;
  /** What the platform handed over with the request. */
  readonly env: unknown;
  readonly requestId: string;
  /** The route's pattern, never the path: paths hold chat ids. */
  readonly route: string;
  readonly startedMs: number;
  /** What is learnt on the way, for the access line. */
  workspace?: WorkspaceId;
  subjectHash?: string;
  call?: CallRecord;
}

export interface ExchangeParts {
  readonly clock: Clock;
  readonly createId: () => string;
  readonly log: Logger;
}

export function createExchange(
  parts: ExchangeParts,
  route: string,
  request: Request,
  env: unknown,
): Exchange {
  const requestId = resolveRequestId(request.headers.get("x-request-id"), parts.createId);
  return { request, env, requestId, route, startedMs: parts.clock.monotonicMs() };
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
    headers: { ...COMMON_HEADERS, "X-Request-Id": exchange.requestId, ...headers },
  });
}

/** Makes an answer of ready JSON text. */
export function answerJson(
  exchange: Exchange,
  status: number,
  json: string,
  headers?: Readonly<Record<string, string>>,
): Response {
  return answer(exchange, status, json, { "Content-Type": "application/json", ...headers });
}

/** Runs a handler to its answer: refusals become problems, defects a bare 500, and both one line. */
export async function runExchange(
  parts: ExchangeParts,
  exchange: Exchange,
  handler: (exchange: Exchange) => Response | Promise<Response>,
): Promise<Response> {
  let code: ProblemCode | undefined;
  let response: Response;
  try {
    response = await handler(exchange);
  } catch (error) {
    const problem = error instanceof Problem ? error : reportDefect(parts.log, exchange, error);
    code = problem.code;
    const body = problem.body(exchange.requestId);
    response = answer(exchange, problem.status, body, problem.headers());
  }
  logAccess(parts, exchange, response.status, code);
  return response;
}

function reportDefect(log: Logger, exchange: Exchange, error: unknown): Problem {
  log.log("error", "defect", { reqId: exchange.requestId, ...describeDefect(error) });
  return new Problem("internal_error");
}

function logAccess(
  { clock, log }: ExchangeParts,
  exchange: Exchange,
  status: number,
  code: ProblemCode | undefined,
): void {
  const { request, requestId, route, startedMs, workspace, subjectHash, call } = exchange;
  log.log(selectLevel(status, code), "request", {
    reqId: requestId,
    method: request.method,
    route,
    status,
    code,
    ms: roundMs(clock.monotonicMs() - startedMs),
    workspace,
    subjectHash,
    upstreamStatus: call?.status,
    upstreamMs: call === undefined ? undefined : roundMs(call.ms),
    retries: call?.retries,
  });
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
