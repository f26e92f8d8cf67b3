/**
 * Records that tests compare with what the product reports: how often each message arrived and was
 * taken, and every request as it was received. The requests hold tokens: never print or serve them.
 */
import type { Context } from "hono";
import { BoundedMap } from "./bounded-map.ts";
import type { Bindings, EmulatorEnv } from "./connection.ts";

export interface MessageCount {
  readonly chatId: string;
  readonly content: string;
  /** Number of well-formed completion requests with a known token, whatever their answer. */
  readonly arrived: number;
  /** Number of those that were added to the chat. */
  readonly taken: number;
}

/** Counts each message by chat and content: a test sees what was lost or sent twice. */
export class MessageCounts {
  readonly #counts = new BoundedMap<
    string,
    { -readonly [K in keyof MessageCount]: MessageCount[K] }
  >();

  /** Counts one arrival. The function that it returns counts that this message was taken. */
  arrived(chatId: string, content: string): () => void {
    const key = JSON.stringify([chatId, content]);
    let count = this.#counts.get(key);
    if (count === undefined) {
      count = { chatId, content, arrived: 0, taken: 0 };
      this.#counts.add(key, count, key.length + content.length);
    }
    count.arrived += 1;
    const found = count;
    return () => {
      found.taken += 1;
    };
  }

  /** Returns copies in the order of first arrival, so that a test can compare before and after. */
  list(chatId?: string): readonly MessageCount[] {
    return this.#counts
      .values()
      .filter((count) => chatId === undefined || count.chatId === chatId)
      .map(({ chatId, content, arrived, taken }) => ({ chatId, content, arrived, taken }));
  }

  clear(): void {
    this.#counts.clear();
  }
}

export interface RecordedRequest {
  readonly method: string;
  /** As it was sent, with its percent-encoding and without the query. */
  readonly path: string;
  /** As it was sent, with the `?`; empty if there is none. */
  readonly query: string;
  /** Lower-case names; `authorization` is among them. A repeated header is joined with ", ". */
  readonly headers: Readonly<Record<string, string>>;
  /** Empty if there is none, or if the client left before it was complete. */
  readonly body: string;
}

/** The requests that the emulator has received. */
export class RequestLog {
  readonly #requests = new BoundedMap<number, RecordedRequest>();
  #count = 0;

  add(c: Context<EmulatorEnv>, env: Bindings, body: string): void {
    // Hono's URL is normalized. A test that looks for "/../" needs the target of the request line.
    const target = env?.incoming?.url ?? c.req.url.replace(/^[^/]*\/\/[^/?]*/, "");
    const queryAt = target.indexOf("?");
    const request: RecordedRequest = {
      method: c.req.method,
      path: queryAt === -1 ? target : target.slice(0, queryAt),
      query: queryAt === -1 ? "" : target.slice(queryAt),
      headers: c.req.header(),
      body,
    };
    this.#count += 1;
    this.#requests.add(this.#count, request, target.length + body.length);
  }

  list(): readonly RecordedRequest[] {
    return this.#requests.values();
  }

  clear(): void {
    this.#requests.clear();
  }
}
