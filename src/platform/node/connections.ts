/**
 * Bounds what the clients of one listener can hold: connections in all and per address, requests sent
 * ahead on one connection, and answers that are not read. Ends connections in an orderly way.
 */
import { IncomingMessage, type ServerResponse } from "node:http";
import type { Socket } from "node:net";

import { normaliseAddress } from "../../admission/client-address.ts";
import type { CutReason } from "../../metrics.ts";

/**
 * Most requests that are answered or wait on one connection. Reading stops while any wait, but Node
 * parses all that it has read: 64 KiB, which hold 1,700 short requests of about 2 KiB of memory each.
 * Browsers and common proxies send no request before the last one is answered.
 */
const PIPELINED_MAX = 32;

/**
 * Longest time in which a client takes nothing of an answer that waits for it, in milliseconds. TCP
 * alone would wait for as long as the client acknowledges that it has no room.
 */
const STALLED_MS = 20_000;

/**
 * Most bytes of answers that wait for clients to read them, over all connections of a listener. What
 * the system's own send buffers hold is not among them: an answer of a few KiB never waits here.
 */
const UNSENT_BYTES_MAX = 32 * 1_024 * 1_024;

/**
 * How long a connection that has had its last answer may go on sending, in milliseconds. Closed at
 * once, unread bytes would make the system send a reset, which can cost the client that answer
 * (RFC 9112 section 9.6).
 */
const LINGER_MS = 1_000;

export interface ConnectionLimits {
  /** Most connections from one address (IPv6: from one /64); undefined: any number. */
  readonly perAddressMax: number | undefined;
  /** In milliseconds; `STALLED_MS` where absent. */
  readonly stalledMs?: number;
  /** `UNSENT_BYTES_MAX` where absent. */
  readonly unsentBytesMax?: number;
}

export interface Connections {
  /** The class of requests that the listener must make; see `createRequestClass`. */
  readonly Request: typeof IncomingMessage;
  /** Takes over a new connection; past the limit of its address it is ended. */
  open(socket: Socket): void;
  /**
   * Answers a request: at once, or when those before it on its connection are answered and out. A
   * request that its connection ends before is never begun.
   *
   * @param begin writes the answer; resolves when all of it is written
   */
  serve(request: IncomingMessage, response: ServerResponse, begin: () => Promise<void>): void;
  /**
   * Takes no more requests from a connection, and ends it once the whole requests that it has sent
   * are answered. A request that is being read is told that no more will come, by its `aborted` event.
   *
   * @returns false when nothing is owed to it: it was left as it is, and `endWith` may end it
   */
  endAfterAnswers(socket: Socket): boolean;
  /** Whether a connection is being ended; what still comes from it must be ignored. */
  isEnding(socket: Socket): boolean;
  /** Ends a connection that is owed nothing, with `text` as the last that it gets. */
  endWith(socket: Socket, text: string): void;
  /** Makes every answer under way the last of its connection. */
  stopKeepingAlive(): void;
  /** Resolves when no answer is under way. */
  allFinished(): Promise<void>;
  /** Ends every connection at once. */
  destroyAll(): void;
}

interface Owed {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly begin: () => Promise<void>;
}

interface Connection {
  readonly socket: Socket;
  readonly addressKey: string;
  /** The first is being answered, the others wait. */
  readonly owed: Owed[];
  ending: boolean;
  /** Ends the connection where the client goes on sending what is not read. */
  deadline: NodeJS.Timeout | undefined;
  /** Whether the last request was answered before its body was complete. */
  bodyIsUnfinished: boolean;
}

/** @param report told of every connection that is ended without an answer */
export function createConnections(
  limits: ConnectionLimits,
  report: (reason: CutReason) => void,
): Connections {
  const { perAddressMax, stalledMs = STALLED_MS, unsentBytesMax = UNSENT_BYTES_MAX } = limits;
  const bySocket = new Map<Socket, Connection>();
  const perAddress = new Map<string, number>();
  /** Bytes that wait for their client, by connection; the one that waits longest first. */
  const unsent = new Map<Connection, number>();
  let unsentBytes = 0;
  let answering = 0;
  let waiting: (() => void)[] = [];

  function countAddress(key: string, by: 1 | -1): number {
    const count = (perAddress.get(key) ?? 0) + by;
    if (count === 0) perAddress.delete(key);
    else perAddress.set(key, count);
    return count;
  }

  function cut({ socket }: Connection, reason: CutReason): void {
    if (socket.destroyed) return;
    report(reason);
    socket.destroy();
  }

  function start(connection: Connection, { response, begin }: Owed): void {
    answering += 1;
    response.once("close", () => finish(connection));
    void begin().then(() => {
      noteUnsent(connection, response);
    });
  }

  /** Bounds what waits: in bytes over all connections, and in time for this one. */
  function noteUnsent(connection: Connection, response: ServerResponse): void {
    const { socket } = connection;
    const bytes = socket.writableLength;
    if (bytes === 0 || response.closed || socket.destroyed) return;
    // Node starts this anew whenever the system takes something of what waits.
    socket.setTimeout(stalledMs);
    unsent.set(connection, bytes);
    unsentBytes += bytes;
    while (unsentBytes > unsentBytesMax) {
      const holder = findLargestHolder(connection);
      if (holder === undefined) return;
      forgetUnsent(holder, unsent.get(holder) ?? 0);
      cut(holder, "unread_answers");
    }
  }

  /**
   * The connection that waits longest among those of the address that holds most: many small holders
   * of one client must not push out an honest slow reader. Never the newest one, however large it is:
   * its client has had no time to read.
   */
  function findLargestHolder(newest: Connection): Connection | undefined {
    const bytesOf = new Map<string, number>();
    for (const [{ addressKey }, bytes] of unsent) {
      bytesOf.set(addressKey, (bytesOf.get(addressKey) ?? 0) + bytes);
    }
    let largest: Connection | undefined;
    for (const connection of unsent.keys()) {
      if (connection === newest) continue;
      const isLarger =
        largest === undefined ||
        (bytesOf.get(connection.addressKey) ?? 0) > (bytesOf.get(largest.addressKey) ?? 0);
      if (isLarger) largest = connection;
    }
    return largest;
  }

  function forgetUnsent(connection: Connection, bytes: number): void {
    unsent.delete(connection);
    unsentBytes -= bytes;
  }

  /** An answer is out, or its connection is gone. */
  function finish(connection: Connection): void {
    const { socket, owed } = connection;
    const bytes = unsent.get(connection);
    if (bytes !== undefined) forgetUnsent(connection, bytes);
    const done = owed.shift();
    if (done !== undefined && !done.request.complete) endIfUnread(connection, done.request);
    const next = owed[0];
    if (next !== undefined && socket.writable) {
      // Node sets the time of an idle connection only where no request is known to follow.
      socket.setTimeout(0);
      if (owed.length === 1) socket.resume();
      start(connection, next);
    } else if (connection.ending) {
      linger(connection);
    }
    answering -= 1;
    if (answering > 0) return;
    for (const resolve of waiting) resolve();
    waiting = [];
  }

  /** Whether a connection may have no further request; then it is about to be ended. */
  function refusesRequest(socket: Socket): boolean {
    const connection = bySocket.get(socket);
    if (connection === undefined || connection.owed.length < PIPELINED_MAX) return false;
    report("pipelined_requests");
    return true;
  }

  return {
    Request: createRequestClass(refusesRequest),
    open(socket) {
      // Node hands over sockets without any (CONNECT), and an error that nobody listens for ends the
      // process. Errors need no answer here: the socket is destroyed by them, and `close` follows.
      socket.on("error", () => undefined);
      const addressKey = normaliseAddress(socket.remoteAddress ?? "") ?? "unknown";
      const connection: Connection = {
        socket,
        addressKey,
        owed: [],
        ending: false,
        deadline: undefined,
        bodyIsUnfinished: false,
      };
      bySocket.set(socket, connection);
      const count = countAddress(addressKey, 1);
      // Node resumes a paused socket whenever it begins to read the next request's body, and would
      // go on parsing what is sent ahead.
      socket.on("resume", () => {
        if (connection.owed.length > 1 && !connection.ending) socket.pause();
      });
      // Before Node's own listener, which Node takes away from sockets that it hands over.
      socket.prependListener("timeout", () => {
        if (unsent.has(connection)) cut(connection, "unread_answers");
        else socket.destroy();
      });
      socket.once("close", () => {
        bySocket.delete(socket);
        countAddress(addressKey, -1);
        clearTimeout(connection.deadline);
        const bytes = unsent.get(connection);
        if (bytes !== undefined) forgetUnsent(connection, bytes);
      });
      if (perAddressMax !== undefined && count > perAddressMax) {
        cut(connection, "connections_per_address");
      }
    },
    serve(request, response, begin) {
      const connection = bySocket.get(request.socket);
      if (connection === undefined || connection.ending || connection.socket.destroyed) return;
      const { socket, owed } = connection;
      const entry = { request, response, begin };
      owed.push(entry);
      if (owed.length === 1) start(connection, entry);
      else socket.pause();
    },
    endAfterAnswers(socket) {
      const connection = bySocket.get(socket);
      const last = connection?.owed.at(-1);
      if (connection === undefined || last === undefined) return false;
      if (connection.ending) return true;
      const { owed } = connection;
      connection.ending = true;
      if (!last.request.complete) {
        // Its body ends here, unfinished. Node does not say so: a reader of it would wait in vain.
        if (owed.length === 1) {
          last.request.aborted = true;
          last.request.emit("aborted");
        } else {
          owed.pop();
        }
      }
      const lastAnswered = owed.at(-1);
      if (lastAnswered !== undefined) lastAnswered.response.shouldKeepAlive = false;
      // Nothing more is parsed; what comes is read off, so that a client that leaves is noticed.
      socket.resume();
      return true;
    },
    isEnding: (socket) => bySocket.get(socket)?.ending ?? true,
    endWith(socket, text) {
      const connection = bySocket.get(socket);
      if (connection === undefined || !socket.writable) {
        socket.destroy();
        return;
      }
      connection.ending = true;
      // What is broken may be the rest of a request that was answered: it gets no second answer.
      if (!connection.bodyIsUnfinished) socket.write(text);
      linger(connection);
    },
    stopKeepingAlive() {
      for (const { owed } of bySocket.values()) {
        const [first] = owed;
        if (first !== undefined) first.response.shouldKeepAlive = false;
      }
    },
    allFinished: () =>
      new Promise((resolve) => {
        if (answering === 0) resolve();
        else waiting.push(resolve);
      }),
    destroyAll() {
      for (const socket of bySocket.keys()) socket.destroy();
    },
  };
}

/**
 * Requests that stop Node's parser where `refuses` says so. A socket that is destroyed while its data
 * is parsed is parsed to the end all the same, and every request of it is kept until its `close`. The
 * one thing that stops the parser is a change of protocol; where nothing listens for `upgrade`, Node
 * then destroys the socket.
 */
function createRequestClass(refuses: (socket: Socket) => boolean): typeof IncomingMessage {
  return class extends IncomingMessage {
    #upgrade = false;
    #refused = false;
    get upgrade(): boolean {
      return this.#upgrade;
    }
    /** Set by Node: to null while it is made, to what the parser says, to whether it is wanted. */
    set upgrade(value: boolean | null) {
      if (value === null || this.#refused) return;
      this.#refused = refuses(this.socket);
      this.#upgrade = value || this.#refused;
    }
  };
}

/** Says that nothing more will be sent, and drops for a while what still comes. */
function linger(connection: Connection): void {
  const { socket } = connection;
  if (socket.destroyed) return;
  socket.end();
  socket.resume();
  destroyLater(connection);
}

/** Where a client goes on sending the body of a request that is answered, its connection ends. */
function endIfUnread(connection: Connection, request: IncomingMessage): void {
  if (connection.socket.destroyed) return;
  connection.bodyIsUnfinished = true;
  destroyLater(connection);
  request.once("end", () => {
    connection.bodyIsUnfinished = false;
    if (!connection.ending) clearTimeout(connection.deadline);
  });
}

function destroyLater(connection: Connection): void {
  clearTimeout(connection.deadline);
  connection.deadline = setTimeout(() => connection.socket.destroy(), LINGER_MS).unref();
}
