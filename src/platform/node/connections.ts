/**
 * Limits what the clients of one listener can hold: connections per address, pipelined requests and
 * answers that are not read. It also closes connections so that clients still get their answers.
 */
import { IncomingMessage, type ServerResponse } from "node:http";
import type { Socket } from "node:net";

import { normaliseAddress } from "../../admission/client-address.ts";
import type { CutReason } from "../../metrics.ts";

/**
 * Most requests of one connection that are being answered or wait. Reading stops while any request
 * waits, but Node parses all that it has read: 64 KiB hold 1,700 short requests, which take about 2
 * KiB of memory each. Browsers and common proxies send a request only after the last answer.
 */
const PIPELINED_MAX = 32;

/**
 * Longest time in which a client reads nothing of a waiting answer, in milliseconds. TCP alone
 * waits as long as the client acknowledges with a window of zero.
 */
const STALLED_MS = 20_000;

/**
 * Most bytes of answers that wait for their clients, over all connections of a listener. Bytes in
 * the send buffers of the system do not count, so an answer of a few KiB never waits here.
 */
const UNSENT_BYTES_MAX = 32 * 1_024 * 1_024;

/**
 * How long a client may go on sending after its last answer, in milliseconds. If the socket were
 * closed at once, unread bytes would make the system send a reset, and the client could lose that
 * answer (RFC 9112 section 9.6).
 */
const LINGER_MS = 1_000;

export interface ConnectionLimits {
  /** Most connections from one address (IPv6: from one /64); undefined: any number. */
  readonly perAddressMax: number | undefined;
  /** In milliseconds; default `STALLED_MS`. */
  readonly stalledMs?: number;
  /** In bytes; default `UNSENT_BYTES_MAX`. */
  readonly unsentBytesMax?: number;
}

export interface Connections {
  /** Request class for the listener; see `createRequestClass`. */
  readonly Request: typeof IncomingMessage;
  /** Registers a new connection. Past the limit of its address it is closed. */
  open(socket: Socket): void;
  /**
   * Answers a request, at once or when the answers to earlier requests of its connection are sent.
   * If the connection ends before that, the request is dropped.
   *
   * @param begin writes the answer; resolves when all of it is written
   */
  serve(request: IncomingMessage, response: ServerResponse, begin: () => Promise<void>): void;
  /**
   * Accepts no more requests from a connection, and closes it when its complete requests are
   * answered. A request whose body is still being read gets an `aborted` event.
   *
   * @returns false when no answer is due: the connection is unchanged, and `endWith` may close it
   */
  endAfterAnswers(socket: Socket): boolean;
  /** Whether a connection is being closed, so that further events of it must be ignored. */
  isEnding(socket: Socket): boolean;
  /** Sends `text` as the last answer of a connection on which no answer is due, and closes it. */
  endWith(socket: Socket, text: string): void;
  /** Makes every answer that has begun the last of its connection. */
  stopKeepingAlive(): void;
  /** Resolves when no answer is being sent. */
  allFinished(): Promise<void>;
  /** Closes every connection at once. */
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
  /** Requests without a complete answer: the first is being answered, the others wait. */
  readonly owed: Owed[];
  ending: boolean;
  /** Closes the connection when the client goes on sending after its last answer. */
  deadline: NodeJS.Timeout | undefined;
  /** Whether the last request was answered before its body was complete. */
  bodyIsUnfinished: boolean;
}

/**
 * Creates the connection limits of one listener.
 *
 * @param report called for every connection that is closed without an answer
 */
export function createConnections(
  limits: ConnectionLimits,
  report: (reason: CutReason) => void,
): Connections {
  const { perAddressMax, stalledMs = STALLED_MS, unsentBytesMax = UNSENT_BYTES_MAX } = limits;
  const bySocket = new Map<Socket, Connection>();
  const perAddress = new Map<string, number>();
  /** Unread bytes of answers by connection; the connection that waits longest is first. */
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

  /** Limits waiting answers: the bytes of all connections, and the time of this one. */
  function noteUnsent(connection: Connection, response: ServerResponse): void {
    const { socket } = connection;
    const bytes = socket.writableLength;
    if (bytes === 0 || response.closed || socket.destroyed) return;
    // Node restarts this timer whenever the system accepts some of the waiting bytes.
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

  /** Called when an answer is sent or its connection is closed. */
  function finish(connection: Connection): void {
    const { socket, owed } = connection;
    const bytes = unsent.get(connection);
    if (bytes !== undefined) forgetUnsent(connection, bytes);
    const done = owed.shift();
    if (done !== undefined && !done.request.complete) endIfUnread(connection, done.request);
    const next = owed[0];
    if (next !== undefined && socket.writable) {
      // Node sets the timer of an idle connection itself, but not when a request is waiting.
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

  /** Whether a request exceeds the limit of its connection, which is then closed. */
  function refusesRequest(socket: Socket): boolean {
    const connection = bySocket.get(socket);
    if (connection === undefined || connection.owed.length < PIPELINED_MAX) return false;
    report("pipelined_requests");
    return true;
  }

  return {
    Request: createRequestClass(refusesRequest),
    open(socket) {
      // For CONNECT, Node gives up the socket and its error listener, and an error without a
      // listener ends the process. The error needs no handling: the socket is destroyed and `close`
      // follows.
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
      // Runs before Node's own listener, which Node removes from a socket after CONNECT.
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
        // No more of its body will be read. Node emits no event, so the reader would wait for ever.
        if (owed.length === 1) {
          last.request.aborted = true;
          last.request.emit("aborted");
        } else {
          owed.pop();
        }
      }
      const lastAnswered = owed.at(-1);
      if (lastAnswered !== undefined) lastAnswered.response.shouldKeepAlive = false;
      // Nothing more is parsed. The bytes are read and dropped, which shows when the client leaves.
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
 * Creates a request class that stops Node's parser when `refuses` returns true.
 *
 * Destroying the socket is not enough: Node parses the data that it has read to the end, and keeps
 * every request until `close`. Only a change of protocol stops the parser. Without a listener for
 * `upgrade` Node then destroys the socket.
 */
function createRequestClass(refuses: (socket: Socket) => boolean): typeof IncomingMessage {
  return class extends IncomingMessage {
    #upgrade = false;
    #refused = false;
    get upgrade(): boolean {
      return this.#upgrade;
    }
    /** Node sets null in the constructor, then the value of the parser, then its own decision. */
    set upgrade(value: boolean | null) {
      if (value === null || this.#refused) return;
      this.#refused = refuses(this.socket);
      this.#upgrade = value || this.#refused;
    }
  };
}

/** Sends the end of the stream, and reads and drops for a while what the client still sends. */
function linger(connection: Connection): void {
  const { socket } = connection;
  if (socket.destroyed) return;
  socket.end();
  socket.resume();
  destroyLater(connection);
}

/** Closes the connection when the client goes on sending the body of an answered request. */
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
