// Owns the emulator's listening socket. It knows no route and no fault.
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { getRequestListener } from "@hono/node-server";
import { createEmulator, type Emulator, type EmulatorOptions } from "./emulator.ts";

export interface ListenOptions {
  /** Default 127.0.0.1: the control routes need no token, so the emulator is not for other machines. */
  readonly host?: string;
  /** 0 to 65535. Default 0, any free one. */
  readonly port?: number;
  /**
   * Closes a connection so many milliseconds after its last answer, 1 or more, and says nothing of
   * it beforehand, as many servers do. Default: after ten minutes.
   */
  readonly idleMs?: number;
}

export interface RunningEmulator extends Emulator {
  /** Without a slash at the end. */
  readonly url: string;
  readonly port: number;
  /** Ends every socket and every wait at once. A second call waits for the same end. */
  close(): Promise<void>;
}

// Node's own 5 seconds would reset a pooled connection now and then: a fault that nobody asked for.
const KEEP_ALIVE_MS = 600_000;

/** Rejects with Node's own error, such as code EADDRINUSE, if it cannot listen. */
export async function startEmulator(
  options: EmulatorOptions & ListenOptions,
): Promise<RunningEmulator> {
  const { host = "127.0.0.1", port = 0, idleMs } = options;
  const ended = new AbortController();
  const emulator = createEmulator(options, ended.signal);
  // Tests run the product in this same process: its global Request and Response stay what they are.
  const listener = getRequestListener(emulator.app.fetch, { overrideGlobalObjects: false });
  // Node would name its own time-out in a header (`Keep-Alive: timeout=5`); none leaves nothing to name.
  const keepAliveTimeout = idleMs === undefined ? KEEP_ALIVE_MS : 0;
  const server = createServer({ keepAliveTimeout }, (incoming, outgoing) => {
    if (idleMs !== undefined) closeWhenIdle(incoming, outgoing, idleMs);
    void listener(incoming, outgoing);
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, () => {
      server.off("error", reject);
      resolve();
    });
  });
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the server has no port");

  const closed = new Promise<void>((resolve) => {
    server.once("close", resolve);
  });
  return {
    ...emulator,
    url: `http://${host.includes(":") ? `[${host}]` : host}:${address.port}`,
    port: address.port,
    close: () => {
      ended.abort();
      server.close();
      server.closeAllConnections();
      return closed;
    },
  };
}

/** Whatever comes until then is still answered; what is under way when the time is over is cut off. */
function closeWhenIdle(
  { socket }: IncomingMessage,
  outgoing: ServerResponse,
  idleMs: number,
): void {
  outgoing.once("finish", () => {
    const timer = setTimeout(() => socket.destroy(), idleMs);
    socket.once("data", () => clearTimeout(timer));
    socket.once("close", () => clearTimeout(timer));
  });
}
