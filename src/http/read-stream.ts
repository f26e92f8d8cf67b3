/**
 * Reads a body, bounded in bytes and time. Bytes are counted as they arrive, before anything is
 * parsed, because `Content-Length` can be wrong and chunked bodies have none (CVE-2026-44456).
 */

/** Result of reading a body. */
export type BodyRead =
  | { readonly kind: "read"; readonly bytes: Uint8Array }
  | { readonly kind: "too_large" }
  | { readonly kind: "too_slow" }
  /** The body is slow, and its sender has too many slow bodies in progress. */
  | { readonly kind: "too_many_slow" }
  /** The sender left before the body was complete. */
  | { readonly kind: "aborted" };

/** Bounds of one body. */
export interface BodyLimits {
  /** Largest size, in bytes. */
  readonly bytesMax: number;
  /** Longest time from the start of reading to the last byte, in milliseconds. */
  readonly timeoutMs: number;
  /** Called once when the body becomes slow; undefined if slow bodies are not bounded. */
  readonly enterSlow?: EnterSlow;
}

/**
 * Takes a place for a slow body.
 *
 * @returns a function that gives the place back, to be called exactly once; undefined if there are
 *   too many slow bodies
 */
export type EnterSlow = () => (() => void) | undefined;

/** Time after which an incomplete body counts as slow, in milliseconds. */
export const SLOW_AFTER_MS = 500;

/**
 * Watches the time that a body takes to arrive.
 *
 * @param onBroken called at most once, with the bound that the body breaks
 * @returns a function that stops watching, to be called when the body is complete or abandoned
 */
export function watchBodyTime(
  { timeoutMs, enterSlow }: BodyLimits,
  onBroken: (broken: BodyRead & { readonly kind: "too_slow" | "too_many_slow" }) => void,
): () => void {
  let leave: (() => void) | undefined;
  const onSlow = () => {
    leave = enterSlow?.();
    if (leave === undefined && enterSlow !== undefined) onBroken({ kind: "too_many_slow" });
    else timer = setTimeout(onBroken, timeoutMs - SLOW_AFTER_MS, { kind: "too_slow" });
  };
  let timer = setTimeout(onSlow, Math.min(SLOW_AFTER_MS, timeoutMs));
  return () => {
    clearTimeout(timer);
    leave?.();
  };
}

/**
 * Reads a web stream to its end. If it breaks a bound, the stream is cancelled. A null stream is
 * empty.
 */
export async function readStream(
  stream: ReadableStream<Uint8Array> | null,
  limits: BodyLimits,
): Promise<BodyRead> {
  if (stream === null) return { kind: "read", bytes: new Uint8Array() };
  const reader = stream.getReader();
  const broken = Promise.withResolvers<BodyRead>();
  const stopWatching = watchBodyTime(limits, broken.resolve);
  const outcome = await Promise.race([collect(reader, limits.bytesMax), broken.promise]);
  stopWatching();
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

/**
 * Joins chunks into one array. A single chunk is returned as it is, without a copy.
 *
 * @param size bytes of all chunks together
 */
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
