/**
 * Generates the load: each of several connections sends its next message when the last one is
 * answered. It uses raw sockets, since an HTTP client would use as much processor time as the target.
 * It is a process of its own that takes its slots as messages and ends with its parent.
 */
import { connect, type Socket } from "node:net";

import { readCpuUs } from "./cpu-time.ts";
import { ResponseReader } from "./response-reader.ts";
import { createSession, ORIGIN, type Session } from "./sessions.ts";

/** A short time of load on one port. */
export interface Slot {
  readonly port: number;
  /** The route of the product, or the route of the upstream itself. */
  readonly route: "send" | "direct";
  readonly connections: number;
  /** Time before measuring starts, in milliseconds. */
  readonly rampMs: number;
  readonly measureMs: number;
  /** The process whose processor time is read. */
  readonly pid: number;
}

export type SlotResult =
  | {
      readonly kind: "measured";
      readonly requests: number;
      readonly seconds: number;
      /** Processor time of the target, in microseconds; null where it cannot be read. */
      readonly cpuUs: number | null;
      /** Median time to an answer, in milliseconds. */
      readonly medianMs: number;
    }
  | { readonly kind: "failed"; readonly reason: string };

/** Larger than any number of connections. */
const SESSIONS = 4_096;
const CONTENT = "Hello, where is my order? I was told it would be here last week already.";
/** An answer that takes longer counts as lost, in milliseconds. */
const STALL_MS = 5_000;

const requests: Record<Slot["route"], Buffer[]> = { send: [], direct: [] };
for (let number = 0; number < SESSIONS; number += 1) {
  const session = createSession(number);
  requests.send.push(renderSend(session, number));
  requests.direct.push(renderDirect(session));
}

/** Renders the request of a browser's `fetch` behind one proxy. */
function renderSend({ chatId, token }: Session, number: number): Buffer {
  return renderRequest(
    `/chat/${chatId}/send`,
    [
      `Authorization: Bearer ${token}`,
      "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
      "Accept: application/json",
      "Accept-Language: en-GB,en;q=0.5",
      `Origin: ${ORIGIN}`,
      "Sec-Fetch-Site: cross-site",
      `X-Forwarded-For: 203.0.${113 + (number >> 8)}.${number & 255}`,
    ],
    { content: CONTENT },
  );
}

function renderDirect({ chatId, workspaceId }: Session): Buffer {
  const path = `/api/chats/${chatId}/completions`;
  return renderRequest(path, ["Authorization: Bearer direct"], { workspaceId, content: CONTENT });
}

function renderRequest(path: string, headers: readonly string[], body: object): Buffer {
  const text = JSON.stringify(body);
  const lines = [
    `POST ${path} HTTP/1.1`,
    "Host: bench.example",
    ...headers,
    "Content-Type: application/json",
    `Content-Length: ${Buffer.byteLength(text)}`,
  ];
  return Buffer.from(`${lines.join("\r\n")}\r\n\r\n${text}`);
}

/** Runs one slot to its end or to its first failure, then closes every connection. */
async function runSlot(slot: Slot): Promise<SlotResult> {
  const tally = new Tally(slot.pid);
  const connections: Connection[] = [];
  const timers: NodeJS.Timeout[] = [];
  try {
    return await new Promise<SlotResult>((resolve) => {
      const fail = (reason: string) => resolve({ kind: "failed", reason });
      for (let index = 0; index < slot.connections; index += 1) {
        connections.push(new Connection(slot, index, tally, fail));
      }
      const end = () => {
        tally.end();
        // Waits for open requests: their chats are locked until then, and the next slot uses them too.
        void Promise.all(connections.map((connection) => connection.finish())).then(() =>
          resolve(tally.result()),
        );
      };
      timers.push(
        setTimeout(() => tally.begin(), slot.rampMs),
        setTimeout(end, slot.rampMs + slot.measureMs),
        setInterval(() => {
          if (tally.isStalled()) fail(`no answer for ${STALL_MS} ms`);
        }, 1_000),
      );
    });
  } finally {
    for (const timer of timers) clearTimeout(timer);
    for (const connection of connections) connection.close();
  }
}

/** Counts the answers between `begin` and `end`. */
class Tally {
  readonly #pid: number;
  readonly #latenciesMs: number[] = [];
  #started: Reading | undefined;
  #ended: Reading | undefined;
  #lastAnswerMs = performance.now();

  constructor(pid: number) {
    this.#pid = pid;
  }

  begin(): void {
    this.#started = this.#read();
  }

  end(): void {
    this.#ended = this.#read();
  }

  /** @param sentMs time at which the message of this answer was sent */
  count(sentMs: number): void {
    this.#lastAnswerMs = performance.now();
    // Late answers count too: a connection can wait longer than the whole slot.
    if (this.#started !== undefined) this.#latenciesMs.push(this.#lastAnswerMs - sentMs);
  }

  isStalled(): boolean {
    return performance.now() - this.#lastAnswerMs > STALL_MS;
  }

  /** To be called when all answers have arrived. */
  result(): SlotResult {
    const [started, ended] = [this.#started, this.#ended];
    const sorted = this.#latenciesMs.toSorted((one, other) => one - other);
    const medianMs = sorted[sorted.length >> 1];
    if (started === undefined || ended === undefined || medianMs === undefined) {
      return { kind: "failed", reason: "nothing was answered" };
    }
    const bothCpuUs = started.cpuUs !== undefined && ended.cpuUs !== undefined;
    return {
      kind: "measured",
      requests: ended.answers - started.answers,
      seconds: (ended.atMs - started.atMs) / 1_000,
      cpuUs: bothCpuUs ? ended.cpuUs - started.cpuUs : null,
      medianMs,
    };
  }

  #read(): Reading {
    return {
      answers: this.#latenciesMs.length,
      atMs: performance.now(),
      cpuUs: readCpuUs(this.#pid),
    };
  }
}

/** The counters at one moment. */
interface Reading {
  readonly answers: number;
  readonly atMs: number;
  readonly cpuUs: number | undefined;
}

/** One connection. Connections share no session, so that no two send into one chat at a time. */
class Connection {
  readonly #slot: Slot;
  readonly #first: number;
  readonly #tally: Tally;
  readonly #fail: (reason: string) => void;
  readonly #socket: Socket;
  readonly #reader = new ResponseReader();
  readonly #finished = Promise.withResolvers<undefined>();
  #next: number;
  #sentMs = 0;
  #finishing = false;

  constructor(slot: Slot, index: number, tally: Tally, fail: (reason: string) => void) {
    this.#slot = slot;
    this.#first = index;
    this.#next = index;
    this.#tally = tally;
    this.#fail = fail;
    this.#socket = connect({ port: slot.port, host: "127.0.0.1", noDelay: true })
      .on("connect", () => this.#send())
      .on("data", (chunk) => this.#receive(chunk))
      .on("error", ({ message }) => fail(`a connection failed: ${message}`))
      .on("end", () => fail("a connection was closed"));
  }

  /** Sends no more messages; resolves when the last answer has arrived. */
  finish(): Promise<undefined> {
    this.#finishing = true;
    return this.#finished.promise;
  }

  close(): void {
    this.#socket.destroy();
  }

  #send(): void {
    const { route, connections } = this.#slot;
    const request = requests[route][this.#next];
    if (request === undefined) throw new Error("there is no such session");
    const following = this.#next + connections;
    this.#next = following < SESSIONS ? following : this.#first;
    this.#sentMs = performance.now();
    this.#socket.write(request);
  }

  #receive(chunk: Buffer): void {
    const answer = this.#reader.push(chunk);
    if (answer === undefined) return;
    if (answer.status !== 201 || !answer.keepsAlive) {
      this.#fail(`an answer was not a 201 on a kept connection:\n${answer.raw.toString()}`);
      return;
    }
    this.#tally.count(this.#sentMs);
    if (this.#finishing) this.#finished.resolve(undefined);
    else this.#send();
  }
}

process.on("message", (slot: Slot) => {
  void runSlot(slot).then((result) => process.send?.(result));
});
process.on("disconnect", () => process.exit());
