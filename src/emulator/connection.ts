// Owns the socket under a request: the only file that breaks one or writes to it by hand. It decides
// nothing: the faults say when.
import type { HttpBindings } from "@hono/node-server";
import { RESPONSE_ALREADY_SENT } from "@hono/node-server/utils/response";

/** What every handler finds in its context. There is no socket when a test calls `app.request()`. */
export interface EmulatorEnv {
  Bindings: Partial<HttpBindings>;
  Variables: { body: string };
}

/** Hono passes no bindings at all, not even an empty object, through `app.request()`. */
export type Bindings = Partial<HttpBindings> | undefined;

/** Thrown to end a request without any answer. */
export class ConnectionCut extends Error {
  /** What `fetch` callers look for on a connection that the peer reset. */
  readonly code = "ECONNRESET";

  constructor() {
    super("the emulator cut the connection");
    this.name = "ConnectionCut";
  }
}

/**
 * Destroys the socket with RST, so that the peer sees a reset and not a polite end.
 * Without a socket the error itself is thrown on: `app.fetch` then rejects, as `fetch` would.
 */
export function cutConnection(env: Bindings, cut: ConnectionCut): Response {
  const socket = env?.incoming?.socket;
  if (socket === undefined) throw cut;
  if (!socket.destroyed) socket.resetAndDestroy();
  return RESPONSE_ALREADY_SENT;
}

/**
 * Sends a 1xx status as if it were the answer, and closes. `Response` refuses such a status
 * (https://fetch.spec.whatwg.org/#dom-response), so it has to be written by hand; the close spares
 * the peer from waiting for the final answer that never comes.
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
