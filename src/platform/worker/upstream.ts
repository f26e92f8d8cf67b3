/**
 * Owns the exchange with UponAI on Workers, through `fetch`. It cannot tell whether a request that
 * failed had left: such a request counts as lost and is never sent again by itself.
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
  /** Largest answer, counted after decoding. */
  readonly answerBytesMax: number;
}

export function createWorkerUpstream(options: WorkerUpstreamOptions): UpstreamTransport {
  return async (request) => {
    const aborter = new AbortController();
    const reply = await within(request.timeoutMs, exchange(request, options, aborter.signal));
    if (reply !== undefined) return reply;
    aborter.abort();
    return { kind: "timeout", sent: true };
  };
}

async function exchange(
  { method, path, headers, body }: UpstreamRequest,
  { origin, answerBytesMax }: WorkerUpstreamOptions,
  signal: AbortSignal,
): Promise<UpstreamReply> {
  try {
    const response = await fetch(`${origin}${path}`, {
      method,
      headers,
      body: body ?? null,
      // What a redirect names is not the origin that the operator chose.
      redirect: "manual",
      // No cache of the platform's may answer for UponAI.
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

/** The whole body as text; undefined when there is more of it than allowed. */
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
