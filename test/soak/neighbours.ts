/**
 * Hostile clients and tenants beside the measured senders: sockets that read no answers, slow
 * bodies, a tenant whose messages fail at UponAI, and connections that are reset. Each keeps a
 * fixed number of sockets open and replaces the closed ones.
 */
import { connect, type Socket } from "node:net";

import { mintToken } from "../support/session-tokens.ts";

/** The workspace claim of the tenant whose messages fail, and its chats. */
export const FAILING = { claim: "failing", chats: 8 } as const;
export const failingChatId = (number: number) => `failing-${number}`;

export interface Neighbours {
  /** Number of answers, by kind and status. */
  readonly counts: ReadonlyMap<string, number>;
  /** Stops them. Resolves when their sockets are closed. */
  stop(): Promise<void>;
}

const UNREAD_SOCKETS = 60;
const SLOW_SOCKETS = 300;
const RESET_SOCKETS = 10;
/** Another loopback address, so that bounds per address do not affect the senders. */
const HOSTILE_ADDRESS = "127.0.0.66";
const PAUSE_MS = 50;
const DRIP_MS = 1_000;

/** Starts all of them against a service on `port` of 127.0.0.1. */
export async function startNeighbours(port: number): Promise<Neighbours> {
  const counts = new Map<string, number>();
  const open = new Set<Socket>();
  const running = { stopped: false };
  const count = (name: string) => void counts.set(name, (counts.get(name) ?? 0) + 1);
  const session = await mintToken({ workspace: FAILING.claim, sub: "slow" });

  /** Keeps one socket open while the soak runs; `begin` is called with each new socket. */
  const keepOpen = async (kind: string, begin: (socket: Socket) => void): Promise<void> => {
    while (!running.stopped) {
      const socket = connect({ port, host: "127.0.0.1", localAddress: HOSTILE_ADDRESS });
      open.add(socket);
      socket.on("error", () => undefined);
      socket.once("connect", () => begin(socket));
      await new Promise((resolve) => {
        socket.once("close", resolve);
      });
      open.delete(socket);
      count(`${kind}: closed`);
      await pause();
    }
  };

  const failing = async (number: number): Promise<void> => {
    const token = await mintToken({ workspace: FAILING.claim, sub: `failing-${number}` });
    const url = `http://127.0.0.1:${port}/chat/${failingChatId(number)}/send`;
    const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
    const body = JSON.stringify({ content: '!fault {"kind":"status","status":500}' });
    while (!running.stopped) {
      const status = await fetch(url, { method: "POST", headers, body }).then(
        async (answer) => {
          await answer.arrayBuffer();
          return answer.status;
        },
        () => 0,
      );
      count(`a neighbour whose messages fail: ${status}`);
      await pause();
    }
  };

  const working = [
    ...repeat(UNREAD_SOCKETS, () => keepOpen("answers unread", writeUnread)),
    ...repeat(SLOW_SOCKETS / 2, () =>
      keepOpen("a slow body without a session", (socket) => dripBody(socket, "")),
    ),
    ...repeat(SLOW_SOCKETS / 2, () =>
      keepOpen("a slow body", (socket) => dripBody(socket, `Authorization: Bearer ${session}\r\n`)),
    ),
    ...repeat(RESET_SOCKETS, () => keepOpen("CONNECT and reset", connectAndReset)),
    ...repeat(FAILING.chats, failing),
  ];
  return {
    counts,
    stop: async () => {
      running.stopped = true;
      for (const socket of open) socket.destroy();
      await Promise.all(working);
    },
  };
}

function repeat(count: number, begin: (number: number) => Promise<void>): Promise<void>[] {
  return Array.from({ length: count }, (_, number) => begin(number));
}

function pause(): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, PAUSE_MS);
  });
}

/** Sends 65 KB of requests at once and never reads their large answers. */
function writeUnread(socket: Socket): void {
  const request = "GET /openapi.json HTTP/1.1\r\nHost: soak\r\n\r\n";
  socket.pause();
  socket.write(request.repeat(Math.ceil(65_000 / request.length)));
}

/** Sends one byte per second of a body with a `Content-Length` of a thousand. */
function dripBody(socket: Socket, authorization: string): void {
  socket.resume();
  socket.write(
    `POST /chat/slow/send HTTP/1.1\r\nHost: soak\r\n${authorization}Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{`,
  );
  const drip = setInterval(() => socket.write(" "), DRIP_MS);
  socket.once("close", () => clearInterval(drip));
}

function connectAndReset(socket: Socket): void {
  socket.write("CONNECT soak:1 HTTP/1.1\r\nHost: soak\r\n\r\n", () => socket.resetAndDestroy());
}
