/** Sends raw HTTP/1.1 bytes, for requests that client libraries do not send. */
import { connect, type Socket } from "node:net";

export interface RawConnection {
  write(bytes: string | Uint8Array): void;
  /** Resolves with all received text when the other side has closed the connection. */
  ended(): Promise<string>;
  /** Resolves when the received text contains `text`. */
  received(text: string): Promise<string>;
  destroy(): void;
}

export async function openRaw(url: string): Promise<RawConnection> {
  const { hostname, port } = new URL(url);
  const socket: Socket = connect(Number(port), hostname);
  let text = "";
  const closed = Promise.withResolvers<string>();
  socket.setEncoding("utf8");
  socket.on("error", () => undefined);
  socket.on("close", () => closed.resolve(text));
  await new Promise<void>((resolve) => {
    socket.once("connect", resolve);
  });
  socket.on("data", (chunk: string) => {
    text += chunk;
  });
  return {
    write: (bytes) => void socket.write(bytes),
    ended: () => closed.promise,
    received: (wanted) =>
      new Promise((resolve) => {
        const look = () => {
          if (!text.includes(wanted)) return;
          socket.off("data", look);
          resolve(text);
        };
        socket.on("data", look);
        look();
      }),
    destroy: () => void socket.destroy(),
  };
}
