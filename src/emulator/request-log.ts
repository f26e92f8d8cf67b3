// Owns the record of what reached the emulator, for tests that check which bytes and headers left the
// product. It holds tokens on purpose: it must never be printed or served.
import type { Context } from "hono";
import { BoundedMap } from "./bounded-map.ts";
import type { Bindings, EmulatorEnv } from "./connection.ts";

export interface RecordedRequest {
  readonly method: string;
  /** As it was sent, still percent-encoded, without the query. */
  readonly path: string;
  /** As it was sent, with its `?`; empty if there is none. */
  readonly query: string;
  /** Lower-case names; `authorization` is among them. A repeated header is joined with ", ". */
  readonly headers: Readonly<Record<string, string>>;
  /** Empty if there is none, or if the client left before it was all here. */
  readonly body: string;
}

export class RequestLog {
  readonly #requests = new BoundedMap<number, RecordedRequest>();
  #count = 0;

  add(c: Context<EmulatorEnv>, env: Bindings, body: string): void {
    // Hono's URL is normalized; a test that looks for "/../" needs the bytes from the request line.
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
