/** Owns the HTTP listener on Node: limits of the protocol, broken requests, and stopping. */
import { randomUUID } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";

import { getRequestListener } from "@hono/node-server";

import type { App } from "../../app.ts";
import { COMMON_HEADERS } from "../../http/common-headers.ts";
import type { LoadGate } from "../../load-gate.ts";
import { Problem, type ProblemCode } from "../../problem.ts";

export interface NodeServer {
  /** The port that was bound. */
  readonly port: number;
  /** Ends the listener and every connection as it falls idle; resolves when all are gone. */
  close(): Promise<void>;
}

/** Room for a session token in a header and one in a cookie, each 8 KiB at most, and the rest. */
const HEADER_BYTES_MAX = 32_768;
/** Longer than load balancers keep an idle connection (60 s is common), so that they end it, not we. */
const KEEP_ALIVE_MS = 75_000;
/** How often connections that fell idle are ended while closing. */
const CLOSE_IDLE_EVERY_MS = 20;

export interface ListenOptions {
  readonly host: string;
  /** 0 takes any free port. */
  readonly port: number;
}

/** @throws Error with code EADDRINUSE or EACCES where the port cannot be had */
export async function startNodeServer(
  fetch: App["fetch"],
  gate: LoadGate,
  { host, port }: ListenOptions,
): Promise<NodeServer> {
  // HTTP/1.0 clients need send no Host, so its absence is no error: nothing here depends on it.
  const handle = getRequestListener((request, env) => fetch(request, env), {
    hostname: "localhost",
    // A request that cannot be made into a URL never reaches the application.
    errorHandler: () => renderProblemResponse("invalid_request"),
  });
  const listener = (incoming: IncomingMessage, outgoing: ServerResponse) => {
    // While stopping, clients are told to come back over another connection, to another instance.
    if (gate.draining) outgoing.shouldKeepAlive = false;
    void handle(incoming, outgoing);
  };
  const server = createServer(
    {
      maxHeaderSize: HEADER_BYTES_MAX,
      keepAliveTimeout: KEEP_ALIVE_MS,
      requireHostHeader: false,
    },
    listener,
  );
  server.on("clientError", answerBrokenRequest);
  await listen(server, host, port);
  return {
    port: (server.address() as AddressInfo).port, // oxlint-disable-line typescript/no-unsafe-type-assertion -- a TCP listener's address is an object
    close: () => closeServer(server),
  };
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, () => {
      server.off("error", reject);
      resolve();
    });
  });
}

function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    // A connection falls idle when its last answer is written out; Node ends it then only if asked.
    const timer = setInterval(() => server.closeIdleConnections(), CLOSE_IDLE_EVERY_MS);
    server.close(() => {
      clearInterval(timer);
      resolve();
    });
    server.closeIdleConnections();
  });
}

function renderProblemResponse(code: ProblemCode): Response {
  const problem = new Problem(code);
  const requestId = randomUUID();
  return new Response(problem.body(requestId), {
    status: problem.status,
    headers: { ...COMMON_HEADERS, "X-Request-Id": requestId, ...problem.headers() },
  });
}

/** Answers what Node's parser refused, in the form of every other refusal. */
function answerBrokenRequest(error: NodeJS.ErrnoException, socket: Duplex): void {
  if (error.code === "ECONNRESET" || !socket.writable) {
    socket.destroy();
    return;
  }
  const problem = new Problem(
    error.code === "ERR_HTTP_REQUEST_TIMEOUT" ? "request_timeout" : "invalid_request",
  );
  const requestId = randomUUID();
  const body = problem.body(requestId);
  const headers = {
    ...COMMON_HEADERS,
    "X-Request-Id": requestId,
    ...problem.headers(),
    "Content-Length": String(Buffer.byteLength(body)),
    Connection: "close",
  };
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.end(`HTTP/1.1 ${problem.status} Refused\r\n${lines.join("")}\r\n${body}`);
}
