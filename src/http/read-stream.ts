/**
 * Owns reading a body of bytes within bounds. Bytes are counted as they arrive, before anything is
 * parsed: `Content-Length` is the sender's claim and chunked bodies make none (CVE-2026-44456).
 */

export type BodyRead =
  | { readonly kind: "read"; readonly bytes: Uint8Array }
  | { readonly kind: "too_large" }
  | { readonly kind: "too_slow" }
  /** The sender left before the body was complete. */
  | { readonly kind: "aborted" };

export interface BodyLimits {
  /** Most bytes to accept. */
  readonly bytesMax: number;
  /** Longest time from the start of reading to the last byte. */
  readonly timeoutMs: number;
}

/** Reads a web stream to its end, or to the first bound it breaks; then the stream is cancelled. */
export async function readStream(
  stream: ReadableStream<Uint8Array> | null,
  limits: BodyLimits,
): Promise<BodyRead> {
  if (stream === null) return { kind: "read", bytes: new Uint8Array() };
  const reader = stream.getReader();
  const slow = Promise.withResolvers<BodyRead>();
  const timer = setTimeout(slow.resolve, limits.timeoutMs, { kind: "too_slow" });
  const outcome = await Promise.race([collect(reader, limits.bytesMax), slow.promise]);
  clearTimeout(timer);
  if (outcome.kind !== "read") void reader.cancel().catch(() => undefined);
  return outcome;
}

async function collect(
  reader: ReadableStreamDefaultReader<Uint8Array>,
  bytesMax: number,
): Promise<BodyRead> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return { kind: "read", bytes: joinChunks(chunks, size) };
      size += value.byteLength;
      if (size > bytesMax) return { kind: "too_large" };
      chunks.push(value);
    }
  } catch {
    return { kind: "aborted" };
  }
}

/** One array of all chunks; the only chunk itself where there is no other. */
export function joinChunks(chunks: readonly Uint8Array[], size: number): Uint8Array {
  const first = chunks[0];
  if (chunks.length === 1 && first !== undefined) return first;
  const joined = new Uint8Array(size);
  let offset = 0;
  for (const chunk of chunks) {
    joined.set(chunk, offset);
    offset += chunk.byteLength;
  }
  return joined;
}
