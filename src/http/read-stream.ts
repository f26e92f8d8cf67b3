/**
 * Reads a body of bytes within bounds. Bytes are counted as they arrive, before anything is
 * parsed: `Content-Length` is the sender's claim and chunked bodies make none (CVE-2026-44456).
 */

export type BodyRead =
  | { readonly kind: "read"; readonly bytes: Uint8Array }
  | { readonly kind: "too_large" }
  | { readonly kind: "too_slow" }
  /** It is slow, and its sender has too many slow bodies under way. */
  | { readonly kind: "too_many_slow" }
  /** The sender left before the body was complete. */
  | { readonly kind: "aborted" };

export interface BodyLimits {
  /** Most bytes to accept. */
  readonly bytesMax: number;
  /** Longest time from the start of reading to the last byte. */
  readonly timeoutMs: number;
  /** Asked once, when a body is slow; undefined: slow bodies are not bounded. */
  readonly enterSlow?: EnterSlow;
}

/** @returns how the slow body is ended, called exactly once; undefined where there are too many */
export type EnterSlow = () => (() => void) | undefined;

/** A body that is not complete after this long counts as slow, in milliseconds. */
export const SLOW_AFTER_MS = 500;

/**
 * Watches the time that a body takes to arrive.
 *
 * @param give told the bound that the body breaks, once at most
 * @returns how to stop, to be called when the body is read or given up
 */
export function watchBodyTime(
  { timeoutMs, enterSlow }: BodyLimits,
  give: (broken: BodyRead & { readonly kind: "too_slow" | "too_many_slow" }) => void,
): () => void {
  let leave: (() => void) | undefined;
  const beSlow = () => {
    leave = enterSlow?.();
    if (leave === undefined && enterSlow !== undefined) give({ kind: "too_many_slow" });
    else timer = setTimeout(give, timeoutMs - SLOW_AFTER_MS, { kind: "too_slow" });
  };
  let timer = setTimeout(beSlow, Math.min(SLOW_AFTER_MS, timeoutMs));
  return () => {
    clearTimeout(timer);
    leave?.();
  };
}

/** Reads a web stream to its end, or to the first bound it breaks; then the stream is cancelled. */
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
