// The socket of a request. Only this file resets a socket or writes to one directly.
import type { HttpBindings } from "@hono/node-server";
import { RESPONSE_ALREADY_SENT } from "@hono/node-server/utils/response";

/** Context of every handler. There is no socket when a test calls `app.request()`. */
export interface EmulatorEnv {
  Bindings: Partial<HttpBindings>;
  Variables: { body: string };
}

/** Hono passes no bindings at all, not even an empty object, through `app.request()`. */
export type Bindings = Partial<HttpBindings> | undefined;

/** Thrown to end a request without any answer. */
export class ConnectionCut extends Error {
  /** The code that `fetch` reports when the peer resets the connection. */
  readonly code = "ECONNRESET";

  constructor() {
    super("the emulator cut the connection");
    this.name = "ConnectionCut";
  }
}

/**
 * Closes the socket with RST, so that the peer sees a reset and not an orderly end.
 * Without a socket it throws `cut`: `app.fetch` then rejects, as `fetch` would.
 */
export function cutConnection(env: Bindings, cut: ConnectionCut): Response {
  const socket = env?.incoming?.socket;
  if (socket === undefined) throw cut;
  if (!socket.destroyed) socket.resetAndDestroy();
  return RESPONSE_ALREADY_SENT;
}

/**
 * Sends a 1xx status as the answer, and closes the connection. `Response` refuses such a status
 * (https://fetch.spec.whatwg.org/#dom-response), so it is written to Node's response directly.
 * Without the close the peer would wait for a final answer that never arrives.
 */
export function sendInformational(
  env: Bindings,
  status: number,
  headers: Record<string, string>,
): Response {
  const outgoing = env?.outgoing;
  if (outgoing === undefined) throw new ConnectionCut();
  outgoing.writeHead(status, { ...headers, connection: "close" }).end();
  return RESPONSE_ALREADY_SENT;
}
