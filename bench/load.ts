/**
 * Generates the load: each of several connections sends its next message when the last one is
 * answered. It uses raw sockets, since an HTTP client would use as much processor time as the target.
 * It is a process of its own that takes its slots as messages and ends with its parent.
 */
import { connect, type Socket } from "node:net";

import { readCpuUs } from "./cpu-time.ts";
import { type RequestKind, type Requests, requestsOf, SESSIONS } from "./requests.ts";
import { ResponseReader } from "./response-reader.ts";

/** A short time of load on one port. */
export interface Slot {
  /** The connections are spread over these ports. */
  readonly ports: readonly number[];
  readonly kind: RequestKind;
  readonly connections: number;
  /** Time before measuring starts, in milliseconds. */
  readonly rampMs: number;
  readonly measureMs: number;
  /** The processes whose processor time is read. */
  readonly pids: readonly number[];
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

/** An answer that takes longer counts as lost, in milliseconds. */
const STALL_MS = 5_000;

/** Runs one slot to its end or to its first failure, then closes every connection. */
async function runSlot(slot: Slot): Promise<SlotResult> {
  const tally = new Tally(slot.pids);
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
  readonly #pids: readonly number[];
  readonly #latenciesMs: number[] = [];
  #started: Reading | undefined;
  #ended: Reading | undefined;
  #lastAnswerMs = performance.now();

  constructor(pids: readonly number[]) {
    this.#pids = pids;
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
      cpuUs: readAll(this.#pids),
    };
  }
}

/** The counters at one moment. */
interface Reading {
  readonly answers: number;
  readonly atMs: number;
  readonly cpuUs: number | undefined;
}

/** The processor time of all processes; undefined where it cannot be read. */
function readAll(pids: readonly number[]): number | undefined {
  let sum = 0;
  for (const pid of pids) {
    const us = readCpuUs(pid);
    if (us === undefined) return undefined;
    sum += us;
  }
  return sum;
}

/** One connection. Connections share no session, so that no two send into one chat at a time. */
class Connection {
  readonly #slot: Slot;
  readonly #requests: Requests;
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
    this.#requests = requestsOf(slot.kind);
    this.#first = index;
    this.#next = index;
    this.#tally = tally;
    this.#fail = fail;
    const port = slot.ports[index % slot.ports.length] ?? 0;
    this.#socket = connect({ port, host: "127.0.0.1", noDelay: true })
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
    const request = this.#requests.next(this.#next);
    const following = this.#next + this.#slot.connections;
    this.#next = following < SESSIONS ? following : this.#first;
    this.#sentMs = performance.now();
    this.#socket.write(request);
  }

  #receive(chunk: Buffer): void {
    const answer = this.#reader.push(chunk);
    if (answer === undefined) return;
    const { status } = this.#requests;
    if (answer.status !== status || !answer.keepsAlive) {
      this.#fail(`an answer was not a ${status} on a kept connection:\n${answer.raw.toString()}`);
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
