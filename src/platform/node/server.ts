/** The HTTP listener on Node: limits of the protocol, broken requests, and stopping. */
import { randomUUID } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { type AddressInfo, Socket } from "node:net";
import type { Duplex } from "node:stream";

import { getRequestListener } from "@hono/node-server";

import type { App } from "../../app.ts";
import { hasDotSegments } from "../../http/raw-path.ts";
import type { LoadGate } from "../../load-gate.ts";
import type { Logger } from "../../logger.ts";
import type { CutReason, Metrics } from "../../metrics.ts";
import { Problem, type ProblemCode } from "../../problem.ts";
import { type ConnectionLimits, createConnections } from "./connections.ts";

export interface NodeServer {
  /** The port that was bound. */
  readonly port: number;
  /** From now on every answer, those under way included, is the last of its connection. */
  stopKeepingAlive(): void;
  /** Ends the listener; resolves when every answer under way is out and every connection ended. */
  close(): Promise<void>;
}

/** Room for a session token in a header and one in a cookie, each 8 KiB at most, and the rest. */
const HEADER_BYTES_MAX = 32_768;
/**
 * Longest time for a request's head, and for the whole of it, in milliseconds; from the connection's
 * start or from the first byte. A body is given ten seconds by the application, which may begin to
 * read it late: behind an answer on the same connection, or after its session was checked.
 */
const HEADERS_MS = 20_000;
const REQUEST_MS = 60_000;
/** How often Node looks for those that are late, in milliseconds; they are cut that much later. */
const CHECK_MS = 5_000;

/** The route of what never became a request. */
const UNPARSED = "unparsed";

export interface ListenOptions {
  readonly host: string;
  /** 0 takes any free one. */
  readonly port: number;
  /** Headers of every answer, for those that are given below the application. */
  readonly commonHeaders: Readonly<Record<string, string>>;
  readonly connections: ListenLimits;
  readonly log: Logger;
  readonly metrics: Metrics;
}

export interface ListenLimits extends ConnectionLimits {
  /** Most connections at once. */
  readonly max: number;
  /** How long an idle connection is kept, in milliseconds. */
  readonly keepAliveMs: number;
}

/** @throws Error with code EADDRINUSE or EACCES where the port cannot be had */
export async function startNodeServer(
  fetch: App["fetch"],
  gate: LoadGate,
  options: ListenOptions,
): Promise<NodeServer> {
  const limits = options.connections;
  const report = createCutReport(options);
  const connections = createConnections(limits, report);
  const handle = getRequestListener((request, env) => fetch(request, env), {
    // HTTP/1.0 clients need send no Host; nothing here depends on it.
    hostname: "localhost",
    // A request that cannot be made into a URL never reaches the application.
    errorHandler: () => {
      const { status, headers, body } = refuse("invalid_request", options);
      return new Response(body, { status, headers });
    },
  });
  const answer = async (incoming: IncomingMessage, outgoing: ServerResponse) => {
    // While stopping, clients are told to come back over another connection, to another instance.
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
      // `isWellFramed` asks for a Host, and its refusal is a problem; Node's own would be empty.
      requireHostHeader: false,
    },
    // Nothing listens for `upgrade`: Node then ignores that header, as HTTP allows (RFC 9110
    // section 7.8), and the request is answered like any other.
    listener,
  );
  server.maxConnections = limits.max;
  server.on("drop", () => report("connections"));
  server.on("connection", (socket) => connections.open(socket));
  server.on("clientError", (error: NodeJS.ErrnoException, stream) => {
    const socket = requireSocket(stream);
    // Each piece that follows what was broken is told of again.
    if (connections.isEnding(socket)) return;
    // What follows a request that is being answered must not answer in its place.
    if (connections.endAfterAnswers(socket)) return;
    // There is no answer to a connection that failed.
    if (socket.errored !== null) socket.destroy();
    else connections.endWith(socket, renderBroken(error.code, options));
  });
  // Expectations may be ignored (RFC 9110 section 10.1.1); a bare 417 would be no answer of ours.
  server.on("checkExpectation", listener);
  server.on("connect", (_request, stream) => {
    const socket = requireSocket(stream);
    if (connections.endAfterAnswers(socket)) return;
    connections.endWith(socket, renderBroken(undefined, options));
  });
  await listen(server, options);
  // Such as no memory for a socket: the connections that there are go on, and others may follow.
  server.on("error", () => report("accept_failed"));
  return {
    port: (server.address() as AddressInfo).port, // oxlint-disable-line typescript/no-unsafe-type-assertion -- a TCP listener's address is an object
    stopKeepingAlive: () => connections.stopKeepingAlive(),
    close: async () => {
      const closed = new Promise((resolve) => server.close(resolve));
      await connections.allFinished();
      // The others wait for nothing: idle, or without a whole request so far.
      connections.destroyAll();
      await closed;
    },
  };
}

/** Node types the sockets of these events by their base class. */
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

/** RFC 3986 section 3.2: a name or an address in brackets, and a port; empty where a URL has none. */
const HOST = /^(?:[\w.~!$&'()*+,;=%-]*|\[[\d.:a-f]+\])(?::\d*)?$/i;

/**
 * What Node's parser lets through and proxies may read differently (RFC 9112 sections 3.2 and 6.1):
 * no Host or several, or one with a path, which would become part of the URL; an encoding of the
 * transfer that nothing here undoes; chunks over HTTP/1.0.
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

/** Makes a refusal below the application, with its access line and its count. */
function refuse(code: ProblemCode, { commonHeaders, log, metrics }: ListenOptions) {
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

/** The answer to what Node's parser refused, in the form of every other refusal. */
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
 * Reports connections that were ended without an answer. The metrics count every one. The log gets at
 * most one line per reason in 10 s, because an attack ends thousands of connections a second.
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
