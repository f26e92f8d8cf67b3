/** Owns the HTTP listener on Node: limits of the protocol, broken requests, and stopping. */
import { randomUUID } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";

import { getRequestListener } from "@hono/node-server";

import type { App } from "../../app.ts";
import type { LoadGate } from "../../load-gate.ts";
import type { Logger } from "../../logger.ts";
import type { Metrics } from "../../metrics.ts";
import { Problem, type ProblemCode } from "../../problem.ts";
import { createOpenResponses } from "./open-responses.ts";

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
/** Longer than load balancers keep an idle connection (60 s is common), so that they end it, not we. */
const KEEP_ALIVE_MS = 75_000;

/** The route of what never became a request. */
const UNPARSED = "unparsed";

export interface ListenOptions {
  readonly host: string;
  /** 0 takes any free one. */
  readonly port: number;
  /** Headers of every answer, for those that are given below the application. */
  readonly commonHeaders: Readonly<Record<string, string>>;
  readonly log: Logger;
  readonly metrics: Metrics;
}

/** @throws Error with code EADDRINUSE or EACCES where the port cannot be had */
export async function startNodeServer(
  fetch: App["fetch"],
  gate: LoadGate,
  options: ListenOptions,
): Promise<NodeServer> {
  const open = createOpenResponses();
  const handle = getRequestListener((request, env) => fetch(request, env), {
    // HTTP/1.0 clients need send no Host; nothing here depends on it.
    hostname: "localhost",
    // A request that cannot be made into a URL never reaches the application.
    errorHandler: () => {
      const { status, headers, body } = refuse("invalid_request", options);
      return new Response(body, { status, headers });
    },
  });
  const listener = (incoming: IncomingMessage, outgoing: ServerResponse) => {
    open.add(incoming.socket, outgoing);
    // While stopping, clients are told to come back over another connection, to another instance.
    if (gate.draining) outgoing.shouldKeepAlive = false;
    if (isWellFramed(incoming)) {
      void handle(incoming, outgoing);
      return;
    }
    const { status, headers, body } = refuse("invalid_request", options);
    outgoing.shouldKeepAlive = false;
    outgoing.writeHead(status, headers).end(body);
  };
  // `isWellFramed` asks for a Host, and its refusal is a problem; Node's own would be empty.
  const server = createServer(
    { maxHeaderSize: HEADER_BYTES_MAX, keepAliveTimeout: KEEP_ALIVE_MS, requireHostHeader: false },
    listener,
  );
  server.on("clientError", (error: NodeJS.ErrnoException, socket) => {
    // What follows a request that is being answered must not answer in its place.
    if (!open.endAfterAnswers(socket)) answerBroken(error.code, socket, options);
  });
  // Expectations may be ignored (RFC 9110 section 10.1.1); a bare 417 would be no answer of ours.
  server.on("checkExpectation", listener);
  server.on("connect", (_request, socket) => answerBroken(undefined, socket, options));
  await listen(server, options);
  return {
    port: (server.address() as AddressInfo).port, // oxlint-disable-line typescript/no-unsafe-type-assertion -- a TCP listener's address is an object
    stopKeepingAlive: () => open.stopKeepingAlive(),
    close: async () => {
      const closed = new Promise((resolve) => server.close(resolve));
      await open.allFinished();
      // Whoever is left has nothing to wait for: idle, or never having sent a whole request.
      server.closeAllConnections();
      await closed;
    },
  };
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
 * What Node's parser lets through and proxies may read differently (RFC 9112 sections 3.2 and 6.1):
 * no Host or several, an encoding of the transfer that nobody here undoes, chunks over HTTP/1.0.
 */
function isWellFramed({ rawHeaders, headers, httpVersion }: IncomingMessage): boolean {
  let hosts = 0;
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index];
    if (name?.length === 4 && name.toLowerCase() === "host") hosts += 1;
  }
  if (hosts > 1 || (hosts === 0 && httpVersion !== "1.0")) return false;
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

/** Answers what Node's parser refused, in the form of every other refusal. */
function answerBroken(errorCode: string | undefined, socket: Duplex, options: ListenOptions): void {
  if (errorCode === "ECONNRESET" || !socket.writable) {
    socket.destroy();
    return;
  }
  const late = errorCode === "ERR_HTTP_REQUEST_TIMEOUT";
  const { status, headers, body } = refuse(late ? "request_timeout" : "invalid_request", options);
  const all = {
    ...headers,
    "Content-Length": String(Buffer.byteLength(body)),
    Connection: "close",
  };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.end(`HTTP/1.1 ${status} Refused\r\n${lines.join("")}\r\n${body}`);
}
