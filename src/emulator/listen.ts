// Starts the emulator on a port.
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { getRequestListener } from "@hono/node-server";
import { createEmulator, type Emulator, type EmulatorOptions } from "./emulator.ts";

export interface ListenOptions {
  /** Default 127.0.0.1, because the control routes need no token. */
  readonly host?: string;
  /** 0 to 65535. Default 0: any free port. */
  readonly port?: number;
  /**
   * Time from the last answer of a connection to its close, in milliseconds, 1 or more. No header
   * announces it, as with many servers. Default: ten minutes.
   */
  readonly idleMs?: number;
}

export interface RunningEmulator extends Emulator {
  /** Without a slash at the end. */
  readonly url: string;
  readonly port: number;
  /** Closes every socket and ends every delay at once. It may be called again. */
  close(): Promise<void>;
}

// Node's default of 5 seconds would sometimes reset a pooled connection: a fault that no test
// wants.
const KEEP_ALIVE_MS = 600_000;

/** Starts an emulator. Rejects with Node's error, such as EADDRINUSE, when it cannot listen. */
export async function startEmulator(
  options: EmulatorOptions & ListenOptions,
): Promise<RunningEmulator> {
  const { host = "127.0.0.1", port = 0, idleMs } = options;
  const ended = new AbortController();
  const emulator = createEmulator(options, ended.signal);
  // Tests run the product in the same process, so the global Request and Response must not change.
  const listener = getRequestListener(emulator.app.fetch, { overrideGlobalObjects: false });
  // With 0, Node sends no header with its time-out (`Keep-Alive: timeout=5`).
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

/** Closes the socket `idleMs` after an answer unless data arrives before. */
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
