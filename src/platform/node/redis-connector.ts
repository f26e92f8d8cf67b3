/**
 * Connects ioredis to a single server or a Cluster's node. ioredis leaves that to Node, which gives up
 * each address of a name but the last after 250 ms; here the time limit holds for all of them.
 */
import { Socket } from "node:net";
import { connect as connectTls, type TLSSocket } from "node:tls";

import { AbstractConnector } from "ioredis";
import { z } from "zod";

import { connectTcp, ConnectTimeout } from "./connect-tcp.ts";

/** As much of ioredis's options as a connection takes; TLS has none of its own here. */
const optionsSchema = z.object({
  host: z.string(),
  port: z.number(),
  tls: z.unknown().optional(),
  connectTimeout: z.number(),
  disconnectTimeout: z.number(),
});

export class RedisConnector extends AbstractConnector {
  readonly #options: z.output<typeof optionsSchema>;

  /** @param options of ioredis, with its defaults */
  constructor(options: unknown) {
    const parsed = optionsSchema.parse(options);
    super(parsed.disconnectTimeout);
    this.#options = parsed;
  }

  /** Resolves with a closed connection where there is none: a rejection would end ioredis for good. */
  async connect(): Promise<Socket | TLSSocket> {
    this.connecting = true;
    let stream: Socket;
    try {
      stream = await this.#open();
    } catch (error) {
      stream = new Socket().destroy();
      if (error instanceof Error) this.firstError = error;
    }
    // `disconnect` was called meanwhile.
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
    // The certificate is checked against the name that was asked for.
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
