/** An upstream that answers with given bytes, for answers that HTTP servers do not send. */
import { once } from "node:events";
import { createServer, type Socket } from "node:net";

export interface RawUpstream {
  readonly url: string;
  /** Sets the answer to all further requests, sent in these pieces; the connection is then kept. */
  answer(...pieces: readonly string[]): void;
  /** Closes the connection after each answer. */
  readonly endings: { end: boolean };
  /** Number of requests that arrived with their complete body. */
  requests(): number;
  close(): Promise<void>;
}

export async function startRawUpstream(): Promise<RawUpstream> {
  const sockets = new Set<Socket>();
  const endings = { end: false };
  let pieces: readonly string[] = [];
  let requests = 0;
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    socket.on("error", () => undefined);
    let text = "";
    socket.setEncoding("latin1").on("data", (chunk: string) => {
      text += chunk;
      const head = text.indexOf("\r\n\r\n");
      const length = Number(/^content-length: (\d+)/im.exec(text)?.[1] ?? 0);
      if (head < 0 || text.length < head + 4 + length) return;
      text = text.slice(head + 4 + length);
      requests += 1;
      for (const piece of pieces) socket.write(piece);
      if (endings.end) socket.end();
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("it listens on no port");
  return {
    url: `http://127.0.0.1:${address.port}`,
    answer: (...given) => {
      pieces = given;
    },
    endings,
    requests: () => requests,
    close: async () => {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

const BODY = '{"messages":[{"role":"assistant","content":"Hi"}]}';

/** An ordinary 201 with one message. */
export const ANSWER = `HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: ${BODY.length}\r\n\r\n${BODY}`;
