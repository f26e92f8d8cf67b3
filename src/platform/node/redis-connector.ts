/**
 * Opens the TCP and TLS connections of ioredis to a single server or to a node of a Cluster.
 * ioredis uses Node's own connect, which gives up each address but the last after 250 ms;
 * `connectTcp` has one time limit for all addresses.
 */
import { Socket } from "node:net";
import { connect as connectTls, type TLSSocket } from "node:tls";

import { AbstractConnector } from "ioredis";
import { z } from "zod";

import { connectTcp, ConnectTimeout } from "./connect-tcp.ts";

/** The options of ioredis that are used here. `tls` only says whether TLS is used. */
const optionsSchema = z.object({
  host: z.string(),
  port: z.number(),
  tls: z.unknown().optional(),
  connectTimeout: z.number(),
  disconnectTimeout: z.number(),
});

/** Connector of ioredis that uses `connectTcp`. */
export class RedisConnector extends AbstractConnector {
  readonly #options: z.output<typeof optionsSchema>;

  /** @param options all options of ioredis, with its defaults */
  constructor(options: unknown) {
    const parsed = optionsSchema.parse(options);
    super(parsed.disconnectTimeout);
    this.#options = parsed;
  }

  /**
   * Connects. On failure it resolves with a closed socket and sets `firstError`: after a rejection
   * ioredis would never connect again.
   */
  async connect(): Promise<Socket | TLSSocket> {
    this.connecting = true;
    let stream: Socket;
    try {
      stream = await this.#open();
    } catch (error) {
      stream = new Socket().destroy();
      if (error instanceof Error) this.firstError = error;
    }
    // `disconnect` was called while this was connecting.
    if (!this.#isWanted()) stream.destroy();
    this.stream = stream;
    return stream;
  }

  #isWanted(): boolean {
    return this.connecting;
  }

  async #open(): Promise<Socket> {
    const { host, port, tls, connectTimeout } = this.#options;
    const startedMs = performance.now();
    const socket = await connectTcp({ host, port }, connectTimeout);
    if (tls === undefined || tls === null) return socket;
    const leftMs = Math.max(connectTimeout - (performance.now() - startedMs), 1);
    return secure(socket, host, leftMs);
  }
}

function secure(socket: Socket, host: string, timeoutMs: number): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    // The certificate is checked against `host`.
    const secured = connectTls({ socket, host });
    const limit = setTimeout(() => {
      secured.destroy();
      reject(new ConnectTimeout());
    }, timeoutMs);
    const fail = (error: Error) => {
      clearTimeout(limit);
      reject(error);
    };
    secured.once("error", fail);
    secured.once("secureConnect", () => {
      clearTimeout(limit);
      secured.off("error", fail);
      resolve(secured);
    });
  });
}
