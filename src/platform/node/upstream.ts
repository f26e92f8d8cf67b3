/**
 * Exchanges with UponAI on Node: undici, driven through its lowest interface, which is both the
 * cheapest and the one that tells when a request is about to be written.
 */
import { promisify } from "node:util";
import { brotliDecompress, gunzip, inflate } from "node:zlib";

import type { Dispatcher } from "undici";

import type { UpstreamReply, UpstreamTransport } from "../../upstream/transport.ts";
import { createDispatcher, type EgressOptions } from "./egress.ts";

export interface NodeUpstreamOptions extends EgressOptions {
  readonly origin: string;
  /** Largest answer, counted after decoding. */
  readonly answerBytesMax: number;
}

export interface NodeUpstream {
  readonly transport: UpstreamTransport;
  close(): Promise<void>;
}

export function createNodeUpstream(options: NodeUpstreamOptions): NodeUpstream {
  const { origin } = options;
  const dispatcher = createDispatcher(origin, options);
  return {
    transport: ({ method, path, headers, body, timeoutMs }) =>
      new Promise((resolve) => {
        const handler = new ExchangeHandler(options, timeoutMs, resolve);
        dispatcher.dispatch({ origin, method, path, headers, body: body ?? null }, handler);
      }),
    close: () => dispatcher.destroy(),
  };
}

/** Of the connection itself, of TLS on it, and of a proxy's answer to `CONNECT`. */
const CONNECT_TIMEOUTS: ReadonlySet<string> = new Set([
  "ETIMEDOUT",
  "UND_ERR_CONNECT_TIMEOUT",
  "UND_ERR_HEADERS_TIMEOUT",
]);

/** Most interim responses (1xx) before an answer; real servers send one or two. */
const INTERIMS_MAX = 20;

/** One exchange. Whatever happens first resolves it; what comes later is dropped. */
class ExchangeHandler implements Dispatcher.DispatchHandler {
  readonly #options: NodeUpstreamOptions;
  readonly #resolve: (reply: UpstreamReply) => void;
  readonly #timer: NodeJS.Timeout;
  #controller: Dispatcher.DispatchController | undefined;
  #resolved = false;
  /** Whether a response has begun to arrive whose status is not known yet. */
  #responding = false;
  #interims = 0;
  #status = 0;
  #retryAfter: string | undefined;
  #contentType: string | undefined;
  #coding: string | undefined;
  #size = 0;
  readonly #chunks: Buffer[] = [];

  constructor(
    options: NodeUpstreamOptions,
    timeoutMs: number,
    resolve: (reply: UpstreamReply) => void,
  ) {
    this.#options = options;
    this.#resolve = resolve;
    this.#timer = setTimeout(() => this.#expire(), timeoutMs);
  }

  /** Called just before the first byte is written: until then nothing can have left. */
  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    // Answered already (timed out while connecting): an abort here keeps it from being written.
    if (this.#resolved) controller.abort(new Error("given up"));
  }

  onResponseStarted(): void {
    this.#responding = true;
  }

  /** Called for every interim response (1xx) as well, before the final one. */
  onResponseStart(
    controller: Dispatcher.DispatchController,
    status: number,
    headers: Record<string, string | string[] | undefined>,
  ): void {
    this.#responding = false;
    if (status < 200) {
      this.#interims += 1;
      // RFC 9110 section 15.2: interim responses are skipped. Nobody asked for another protocol (101).
      if (status !== 101 && this.#interims <= INTERIMS_MAX) return;
      this.#finish({ kind: "unusable" });
      controller.abort(new Error("no final answer"));
      return;
    }
    this.#status = status;
    this.#retryAfter = readHeader(headers["retry-after"]);
    this.#contentType = readHeader(headers["content-type"]);
    this.#coding = readHeader(headers["content-encoding"]);
    // Bodies of other statuses are never looked at, only read off so that the socket can be reused.
    if (status !== 200 && status !== 201) this.#finish(this.#answer(""));
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    this.#size += chunk.byteLength;
    if (this.#size > this.#options.answerBytesMax) {
      this.#finish({ kind: "unusable" });
      controller.abort(new Error("answer too large"));
    } else if (!this.#resolved) {
      this.#chunks.push(chunk);
    }
  }

  onResponseEnd(): void {
    clearTimeout(this.#timer);
    if (this.#resolved) return;
    const bytes = this.#chunks.length === 1 ? this.#chunks[0] : Buffer.concat(this.#chunks);
    const coding = this.#coding?.trim().toLowerCase();
    // Not asked for, and not named where there is none; but some servers do either.
    if (bytes !== undefined && isKnownCoding(coding)) {
      void decode(bytes, coding, this.#options.answerBytesMax).then((decoded) =>
        this.#finish(decoded === undefined ? { kind: "unusable" } : this.#answer(decoded)),
      );
      return;
    }
    // Under any other name ("identity", "none", none at all) it is read as it came: what is encoded
    // all the same is no JSON. `fetch` on Workers does likewise.
    this.#finish(this.#answer(bytes === undefined ? "" : readText(bytes)));
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    clearTimeout(this.#timer);
    this.#finish(this.#classify(error));
  }

  #classify(error: Error): UpstreamReply {
    const code = "code" in error ? String(error.code) : "";
    if (this.#controller === undefined) {
      return {
        kind: "not_sent",
        reason: CONNECT_TIMEOUTS.has(code) ? "connect_timeout" : "connect",
      };
    }
    // What came back was not HTTP, or was cut off before its status, or is what undici breaks the
    // connection for without a word of its own: a 100 that was not asked for, and a 101.
    const malformed =
      error.name === "HTTPParserError" ||
      code === "UND_ERR_HEADERS_OVERFLOW" ||
      (code === "UND_ERR_SOCKET" && this.#responding);
    return malformed ? { kind: "unusable" } : { kind: "lost" };
  }

  #answer(body: string): UpstreamReply {
    return {
      kind: "answer",
      status: this.#status,
      retryAfter: this.#retryAfter,
      contentType: this.#contentType,
      body,
    };
  }

  #expire(): void {
    this.#finish({ kind: "timeout", sent: this.#controller !== undefined });
    this.#controller?.abort(new Error("over the time limit"));
  }

  #finish(reply: UpstreamReply): void {
    if (this.#resolved) return;
    this.#resolved = true;
    this.#resolve(reply);
  }
}

function readHeader(value: string | string[] | undefined): string | undefined {
  return typeof value === "string" ? value : value?.[0];
}

/** Without the byte order mark, which `JSON.parse` refuses and `TextDecoder` drops. */
function readText(bytes: Buffer): string {
  const text = bytes.toString("utf8");
  return text.charCodeAt(0) === 0xfeff ? text.slice(1) : text;
}

const decoders = {
  gzip: promisify(gunzip),
  "x-gzip": promisify(gunzip),
  deflate: promisify(inflate),
  br: promisify(brotliDecompress),
} as const;

function isKnownCoding(coding: string | undefined): coding is keyof typeof decoders {
  return coding !== undefined && Object.hasOwn(decoders, coding);
}

/** Decodes an answer, bounded as it unfolds; undefined when it is broken or too large. */
async function decode(
  bytes: Uint8Array,
  coding: keyof typeof decoders,
  bytesMax: number,
): Promise<string | undefined> {
  try {
    const decoded: Buffer = await decoders[coding](bytes, { maxOutputLength: bytesMax });
    return readText(decoded);
  } catch {
    return undefined;
  }
}
