/** A small reverse proxy that cuts silent requests and answers them with its own HTML page. */
import { createServer, request as openRequest, type Server } from "node:http";
import type { AddressInfo } from "node:net";

export interface CuttingProxy {
  readonly url: string;
  /** Number of requests that were cut. */
  cuts(): number;
  close(): Promise<void>;
}

export interface CuttingProxyOptions {
  /** Servers that are asked in turn; one that cannot be reached is answered 502. */
  readonly targets: readonly string[];
  /** Longest time until an answer begins, in milliseconds. */
  readonly cutMs: number;
  /** Whether an answer is passed on only when all of it has arrived. */
  readonly buffers?: boolean;
}

const PAGE = "<!doctype html><html><title>504 Gateway Time-out</title><h1>504</h1></html>";

export async function startCuttingProxy(options: CuttingProxyOptions): Promise<CuttingProxy> {
  const { targets, cutMs, buffers = false } = options;
  let asked = 0;
  let cuts = 0;
  const server = createServer((incoming, outgoing) => {
    const target = new URL(targets[asked % targets.length] ?? "");
    asked += 1;
    const fail = (status: number) => {
      if (outgoing.headersSent) outgoing.destroy();
      else outgoing.writeHead(status, { "Content-Type": "text/html" }).end(PAGE);
    };
    const { hostname, port } = target;
    const { method, url: path, headers } = incoming;
    const forwarded = openRequest({ hostname, port, method, path, headers, agent: false });
    const timer = setTimeout(() => {
      cuts += 1;
      fail(504);
      forwarded.destroy();
    }, cutMs);
    forwarded.on("error", () => {
      clearTimeout(timer);
      fail(502);
    });
    forwarded.on("response", (answer) => {
      clearTimeout(timer);
      const pass = () => outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
      if (!buffers) {
        answer.pipe(pass());
        return;
      }
      const chunks: Buffer[] = [];
      answer.on("data", (chunk: Buffer) => chunks.push(chunk));
      answer.on("end", () => pass().end(Buffer.concat(chunks)));
    });
    incoming.pipe(forwarded);
  });
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  return {
    url: `http://127.0.0.1:${portOf(server)}`,
    cuts: () => cuts,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function portOf(server: Server): number {
  return (server.address() as AddressInfo).port;
}
