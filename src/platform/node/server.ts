/** HTTP listener on Node: protocol limits, answers to broken requests, and the stop. */
import { randomUUID } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { type AddressInfo, Socket } from "node:net";
import type { Duplex } from "node:stream";

import { getRequestListener } from "@hono/node-server";

import type { App } from "../../app.ts";
import { hasDotSegments } from "../../http/request-head.ts";
import type { LoadGate } from "../../load-gate.ts";
import type { Logger } from "../../logger.ts";
import type { CutReason, Metrics } from "../../metrics.ts";
import { Problem, type ProblemCode } from "../../problem.ts";
import { type ConnectionLimits, createConnections } from "./connections.ts";

export interface NodeServer {
  /** The port that was bound. */
  readonly port: number;
  /** Makes every answer the last of its connection, also those that have begun. */
  stopKeepingAlive(): void;
  /** Stops listening. Resolves when all answers are sent and all connections are closed. */
  close(): Promise<void>;
}

/**
 * In bytes: a session token in a header and one in a cookie, at most 8 KiB each, and other headers.
 */
const HEADER_BYTES_MAX = 32_768;
/**
 * Longest time for the head of a request and for the whole request, in milliseconds, from the start
 * of the connection or from the first byte. The application gives a body ten seconds from when it
 * begins to read. It may begin late: after an answer on the same connection, or after the session
 * check.
 */
const HEADERS_MS = 20_000;
const REQUEST_MS = 60_000;
/**
 * Interval of Node's check for late requests, in milliseconds. They are cut up to that much later.
 */
const CHECK_MS = 5_000;

/** Route in the log and the metrics for what could not be parsed as a request. */
const UNPARSED = "unparsed";

/** What an answer needs that does not come from the application. */
export interface RefusalOptions {
  /** Headers of every answer, for refusals that do not reach the application. */
  readonly commonHeaders: Readonly<Record<string, string>>;
  readonly log: Logger;
  readonly metrics: Metrics;
}

export interface ListenOptions extends RefusalOptions {
  readonly host: string;
  /** 0 to 65535; 0 takes any free port. */
  readonly port: number;
  readonly connections: ListenLimits;
}

export interface ListenLimits extends ConnectionLimits {
  /** Most connections at once. */
  readonly max: number;
  /** How long an idle connection is kept, in milliseconds. */
  readonly keepAliveMs: number;
}

/**
 * Starts a listener.
 *
 * @param fetch answers each request
 * @param gate tells whether the service drains: then every answer closes its connection
 * @throws a system error where it cannot listen, with code EADDRINUSE, EACCES or EADDRNOTAVAIL
 */
export async function startNodeServer(
  fetch: App["fetch"],
  gate: LoadGate,
  options: ListenOptions,
): Promise<NodeServer> {
  const limits = options.connections;
  const report = createCutReport(options);
  const connections = createConnections(limits, report);
  const answer = createNodeHandler(fetch, gate, options, true);
  const listener = (incoming: IncomingMessage, outgoing: ServerResponse) => {
    connections.serve(incoming, outgoing, () => answer(incoming, outgoing));
  };
  const server = createServer(
    {
      IncomingMessage: connections.Request,
      maxHeaderSize: HEADER_BYTES_MAX,
      keepAliveTimeout: limits.keepAliveMs,
      headersTimeout: HEADERS_MS,
      requestTimeout: REQUEST_MS,
      connectionsCheckingInterval: CHECK_MS,
      // `isWellFramed` requires a Host and answers with a problem. Node's own answer would be
      // empty.
      requireHostHeader: false,
    },
    // Without a listener for `upgrade` Node ignores that header, as HTTP allows (RFC 9110 section
    // 7.8), and the request is answered like any other.
    listener,
  );
  server.maxConnections = limits.max;
  server.on("drop", () => report("connections"));
  server.on("connection", (socket) => connections.open(socket));
  server.on("clientError", (error: NodeJS.ErrnoException, stream) => {
    const socket = requireSocket(stream);
    // Node emits this event again for each chunk that follows a broken request.
    if (connections.isEnding(socket)) return;
    // A broken request behind one that is being answered must not be answered in its place.
    if (connections.endAfterAnswers(socket)) return;
    // A connection that has failed cannot carry an answer.
    if (socket.errored !== null) socket.destroy();
    else connections.endWith(socket, renderBroken(error.code, options));
  });
  // A server may ignore expectations (RFC 9110 section 10.1.1). Node's own 417 would not be a
  // problem.
  server.on("checkExpectation", listener);
  server.on("connect", (_request, stream) => {
    const socket = requireSocket(stream);
    if (connections.endAfterAnswers(socket)) return;
    connections.endWith(socket, renderBroken(undefined, options));
  });
  await listen(server, options);
  // For example no memory for a socket. Other connections go on, and new ones may succeed.
  server.on("error", () => report("accept_failed"));
  return {
    port: (server.address() as AddressInfo).port, // oxlint-disable-line typescript/no-unsafe-type-assertion -- a TCP listener's address is an object
    stopKeepingAlive: () => connections.stopKeepingAlive(),
    close: async () => {
      const closed = new Promise((resolve) => server.close(resolve));
      await connections.allFinished();
      // The other connections are idle or have not sent a whole request.
      connections.destroyAll();
      await closed;
    },
  };
}

/**
 * Creates the function that answers requests of Node's own type by `fetch`. It resolves when the
 * answer is written.
 *
 * @param ownsProcess whether `Request` and `Response` of the process may be replaced by faster ones
 */
export function createNodeHandler(
  fetch: App["fetch"],
  gate: LoadGate,
  options: RefusalOptions,
  ownsProcess: boolean,
): (incoming: IncomingMessage, outgoing: ServerResponse) => Promise<void> {
  const handle = getRequestListener((request, env) => fetch(request, env), {
    overrideGlobalObjects: ownsProcess,
    // For HTTP/1.0 clients without a Host header. Nothing depends on the name.
    hostname: "localhost",
    // Called where the target is not a valid URL: the request cannot reach the application.
    errorHandler: () => {
      const { status, headers, body } = refuse("invalid_request", options);
      return new Response(body, { status, headers });
    },
  });
  return async (incoming, outgoing) => {
    // While draining, clients must open a new connection, which leads to another instance.
    if (gate.draining) outgoing.shouldKeepAlive = false;
    // Node's parser drops what follows such a request in the same piece of data. On a connection that
    // goes on, the rest of a later request would then be read as a request of its own.
    if (incoming.headers.upgrade !== undefined) outgoing.shouldKeepAlive = false;
    if (isWellFramed(incoming) && !hasDotSegments(incoming.url ?? "")) {
      await handle(incoming, outgoing);
      return;
    }
    const { status, headers, body } = refuse("invalid_request", options);
    outgoing.shouldKeepAlive = false;
    outgoing.writeHead(status, headers).end(body);
  };
}

/** Narrows the socket of an event, which Node types as `Duplex`. */
function requireSocket(stream: Duplex): Socket {
  if (stream instanceof Socket) return stream;
  throw new TypeError("a TCP listener handed over something that is no socket");
}

function listen(server: Server, { host, port }: ListenOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, () => {
      server.off("error", reject);
      resolve();
    });
  });
}

/**
 * RFC 3986 section 3.2: a name or an address in brackets, and an optional port. It may be empty.
 */
const HOST = /^(?:[\w.~!$&'()*+,;=%-]*|\[[\d.:a-f]+\])(?::\d*)?$/i;

/**
 * Whether a request has one reading only. Node's parser accepts requests that a proxy may read
 * differently (RFC 9112 sections 3.2 and 6.1), which allows request smuggling: no Host or several,
 * a Host with a path (it would become part of the URL), a transfer encoding other than chunked, and
 * chunks over HTTP/1.0.
 */
function isWellFramed({ rawHeaders, headers, httpVersion }: IncomingMessage): boolean {
  let hosts = 0;
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index];
    if (name?.length === 4 && name.toLowerCase() === "host") hosts += 1;
  }
  if (hosts > 1 || (hosts === 0 && httpVersion !== "1.0")) return false;
  if (!HOST.test(headers.host ?? "")) return false;
  const encoding = headers["transfer-encoding"];
  return encoding === undefined || (encoding.toLowerCase() === "chunked" && httpVersion !== "1.0");
}

/** Creates a refusal that does not reach the application, logs the request and counts it. */
function refuse(code: ProblemCode, { commonHeaders, log, metrics }: RefusalOptions) {
  const problem = new Problem(code);
  const reqId = randomUUID();
  const { status } = problem;
  log.log("info", "request", { reqId, route: UNPARSED, status, code });
  metrics.countRequest({ route: UNPARSED, status, code });
  const body = problem.body(reqId);
  return {
    status,
    body,
    headers: { ...commonHeaders, "X-Request-Id": reqId, ...problem.headers() },
  };
}

/** Renders the answer to a request that Node's parser refused, in the form of every refusal. */
function renderBroken(errorCode: string | undefined, options: ListenOptions): string {
  const late = errorCode === "ERR_HTTP_REQUEST_TIMEOUT";
  const { status, headers, body } = refuse(late ? "request_timeout" : "invalid_request", options);
  const all = {
    ...headers,
    "Content-Length": String(Buffer.byteLength(body)),
    Connection: "close",
  };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  return `HTTP/1.1 ${status} Refused\r\n${lines.join("")}\r\n${body}`;
}

/** Least time between two log lines of one reason, in milliseconds. */
const CUT_LOG_PAUSE_MS = 10_000;

/**
 * Reports connections that were ended without an answer. The metrics count every one. The log gets
 * at most one line per reason in 10 s, because an attack ends thousands of connections a second.
 */
function createCutReport({ log, metrics }: ListenOptions): (reason: CutReason) => void {
  const lastMs = new Map<CutReason, number>();
  const unreported = new Map<CutReason, number>();
  return (reason) => {
    metrics.countCutConnection(reason);
    const count = (unreported.get(reason) ?? 0) + 1;
    unreported.set(reason, count);
    const nowMs = performance.now();
    if (nowMs - (lastMs.get(reason) ?? -CUT_LOG_PAUSE_MS) < CUT_LOG_PAUSE_MS) return;
    log.log("warn", "connections ended without an answer", { reason, count });
    lastMs.set(reason, nowMs);
    unreported.delete(reason);
  };
}
