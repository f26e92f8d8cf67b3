/** A small CONNECT proxy with faults. */
import { once } from "node:events";
import { createServer, type IncomingMessage } from "node:http";
import { connect, type Socket } from "node:net";
import type { Duplex } from "node:stream";

export type ProxyMode =
  /** Opens the tunnel. */
  | "tunnel"
  /** Answers the CONNECT with this status. */
  | number
  /** Accepts the connection and never answers. */
  | "silent"
  /** Closes the connection instead of an answer. */
  | "hang-up"
  /** Opens the tunnel, and breaks it as soon as the target has answered. */
  | "cut-answers";

export interface ConnectProxy {
  readonly url: string;
  mode: ProxyMode;
  /** The target and the credentials of each CONNECT, in order. */
  readonly connects: { readonly target: string; readonly authorization: string | undefined }[];
  close(): Promise<void>;
}

export async function startConnectProxy(): Promise<ConnectProxy> {
  const sockets = new Set<Duplex>();
  const keep = (socket: Duplex) => {
    sockets.add(socket);
    socket.on("error", () => undefined);
    socket.on("close", () => sockets.delete(socket));
  };
  const server = createServer((_request, response) => {
    // Requests other than CONNECT are refused.
    response.writeHead(500).end();
  });
  server.on("connection", (socket: Socket) => {
    keep(socket);
    if (proxy.mode === "hang-up") socket.destroy();
  });
  server.on("connect", ({ url = "", headers }: IncomingMessage, near: Duplex) => {
    keep(near);
    const authorization = headers["proxy-authorization"];
    proxy.connects.push({ target: url, authorization });
    const { mode } = proxy;
    if (mode === "silent" || mode === "hang-up") return;
    if (typeof mode === "number") {
      near.end(`HTTP/1.1 ${mode} No\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nno`);
      return;
    }
    const [host = "", port] = url.split(":");
    const far = connect(Number(port), host, () => {
      near.write("HTTP/1.1 200 Connection established\r\n\r\n");
      near.pipe(far);
      if (mode === "tunnel") far.pipe(near);
      else far.once("data", () => near.destroy());
    });
    far.on("error", () => near.destroy());
    near.on("close", () => far.destroy());
    keep(far);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("it listens on no port");
  const proxy: ConnectProxy = {
    url: `http://127.0.0.1:${address.port}`,
    mode: "tunnel",
    connects: [],
    close: async () => {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
  return proxy;
}
