/**
 * Requests to UponAI on Workers, with `fetch`. After a failure it is unknown whether the request
 * was sent, so it counts as lost and is never sent again automatically.
 */
import { joinChunks } from "../../http/read-stream.ts";
import type {
  UpstreamReply,
  UpstreamRequest,
  UpstreamTransport,
} from "../../upstream/transport.ts";
import { within } from "../../within.ts";

export interface WorkerUpstreamOptions {
  readonly origin: string;
  /** Largest body of an answer after decoding, in bytes. */
  readonly answerBytesMax: number;
}

/** Creates the transport to UponAI. */
export function createWorkerUpstream(options: WorkerUpstreamOptions): UpstreamTransport {
  return async (request) => {
    const aborter = new AbortController();
    const reply = await within(request.timeoutMs, callUponai(request, options, aborter.signal));
    if (reply !== undefined) return reply;
    aborter.abort();
    return { kind: "timeout", sent: true };
  };
}

async function callUponai(
  { method, path, headers, body }: UpstreamRequest,
  { origin, answerBytesMax }: WorkerUpstreamOptions,
  signal: AbortSignal,
): Promise<UpstreamReply> {
  try {
    const response = await fetch(`${origin}${path}`, {
      method,
      headers,
      body: body ?? null,
      // A redirect may lead to an origin that the operator has not configured.
      redirect: "manual",
      // Cloudflare's cache must not answer instead of UponAI.
      cache: "no-store",
      signal,
    });
    const { status } = response;
    const retryAfter = response.headers.get("retry-after") ?? undefined;
    const contentType = response.headers.get("content-type") ?? undefined;
    if (status === 200 || status === 201) {
      const text = await readAnswer(response.body, answerBytesMax);
      return text === undefined
        ? { kind: "unusable" }
        : { kind: "answer", status, retryAfter, contentType, body: text };
    }
    void response.body?.cancel().catch(() => undefined);
    return { kind: "answer", status, retryAfter, contentType, body: "" };
  } catch {
    return { kind: "lost" };
  }
}

/** Reads the whole body as text; undefined when it has more than `bytesMax` bytes. */
async function readAnswer(
  stream: ReadableStream<Uint8Array> | null,
  bytesMax: number,
): Promise<string | undefined> {
  if (stream === null) return "";
  const reader = stream.getReader();
  const chunks: Uint8Array[] = [];
  let size = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return new TextDecoder().decode(joinChunks(chunks, size));
    size += value.byteLength;
    if (size > bytesMax) {
      void reader.cancel().catch(() => undefined);
      return undefined;
    }
    chunks.push(value);
  }
}
