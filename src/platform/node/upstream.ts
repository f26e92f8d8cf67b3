/**
 * Requests to UponAI on Node. It uses the lowest interface of undici (`dispatch`), which is the
 * fastest and the only one that tells when a request is about to be written.
 */
import { promisify } from "node:util";
import { brotliDecompress, gunzip, inflate } from "node:zlib";

import type { Dispatcher } from "undici";

import type { UpstreamReply, UpstreamTransport } from "../../upstream/transport.ts";
import { createDispatcher, type EgressOptions } from "./egress.ts";

export interface NodeUpstreamOptions extends EgressOptions {
  readonly origin: string;
  /** Largest body of an answer after decoding, in bytes. */
  readonly answerBytesMax: number;
}

export interface NodeUpstream {
  readonly transport: UpstreamTransport;
  close(): Promise<void>;
}

/**
 * Creates the transport to UponAI and its connection pool. `close` breaks requests that are open.
 */
export function createNodeUpstream(options: NodeUpstreamOptions): NodeUpstream {
  const { origin } = options;
  const dispatcher = createDispatcher(origin, options);
  return {
    transport: ({ method, path, headers, body, timeoutMs }) =>
      new Promise((resolve) => {
        const handler = new CallHandler(options, timeoutMs, resolve);
        dispatcher.dispatch({ origin, method, path, headers, body: body ?? null }, handler);
      }),
    close: () => dispatcher.destroy(),
  };
}

/** Error codes of a time-out while connecting, in TLS, or in a proxy's answer to `CONNECT`. */
const CONNECT_TIMEOUTS: ReadonlySet<string> = new Set([
  "ETIMEDOUT",
  "UND_ERR_CONNECT_TIMEOUT",
  "UND_ERR_HEADERS_TIMEOUT",
]);

/** Most interim responses (1xx) before an answer. Real servers send one or two. */
const INTERIMS_MAX = 20;

/** Handles one request to UponAI. The first result resolves it; later events are ignored. */
class CallHandler implements Dispatcher.DispatchHandler {
  readonly #options: NodeUpstreamOptions;
  readonly #resolve: (reply: UpstreamReply) => void;
  readonly #timer: NodeJS.Timeout;
  #controller: Dispatcher.DispatchController | undefined;
  #resolved = false;
  /** Whether a response has begun to arrive and its status is not known yet. */
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

  /** Called just before the first byte is written: until then nothing has been sent. */
  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    // The time was over while connecting. The abort keeps the request from being written.
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
      // RFC 9110 section 15.2: interim responses are skipped. 101 is an error: the request did not
      // ask for another protocol.
      if (status !== 101 && this.#interims <= INTERIMS_MAX) return;
      this.#finish({ kind: "unusable" });
      controller.abort(new Error("no final answer"));
      return;
    }
    this.#status = status;
    this.#retryAfter = readHeader(headers["retry-after"]);
    this.#contentType = readHeader(headers["content-type"]);
    this.#coding = readHeader(headers["content-encoding"]);
    // The body of any other status is not used. It is read so that the socket can be reused.
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
    // The request does not accept codings, but some servers send one nevertheless.
    if (bytes !== undefined && isKnownCoding(coding)) {
      void decode(bytes, coding, this.#options.answerBytesMax).then((decoded) =>
        this.#finish(decoded === undefined ? { kind: "unusable" } : this.#answer(decoded)),
      );
      return;
    }
    // With any other name ("identity", "none") or without one the body is read as it is. If it is
    // encoded nevertheless, it does not parse as JSON. `fetch` on Workers does the same.
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
    // The answer was not HTTP or ended before its status, or undici closed the connection because
    // of an unexpected 100 or 101 (it has no error code of its own for that).
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

/**
 * Decodes UTF-8 without its byte order mark, which `JSON.parse` refuses and `TextDecoder` drops.
 */
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

/** Decodes an answer; undefined when it is broken or decodes to more than `bytesMax` bytes. */
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
