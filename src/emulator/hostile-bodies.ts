// Bodies that harm a careless reader: very large or very slow. They are created while they are
// read, so the emulator holds one chunk at most, also for a reader that is slow or gone.
import { setTimeout as sleep } from "node:timers/promises";

const CHUNK = new TextEncoder().encode("x".repeat(64 * 1024));

/**
 * Puts a member `padding` in front of the JSON object `json`, so that the body has `bytes` bytes.
 */
export function paddedBody(json: string, bytes: number): ReadableStream<Uint8Array<ArrayBuffer>> {
  const encoder = new TextEncoder();
  const head = encoder.encode('{"padding":"');
  const tail = encoder.encode(json === "{}" ? '"}' : `",${json.slice(1)}`);
  let left = Math.max(0, bytes - head.length - tail.length);
  return new ReadableStream<Uint8Array<ArrayBuffer>>({
    start: (controller) => {
      controller.enqueue(head);
    },
    pull: (controller) => {
      if (left > 0) {
        const chunk = CHUNK.subarray(0, left);
        left -= chunk.length;
        controller.enqueue(chunk);
        return;
      }
      controller.enqueue(tail);
      controller.close();
    },
  });
}

/** Sends `text`, one byte every `everyMs` milliseconds. When the reader leaves, the timer ends. */
export function dripBody(text: string, everyMs: number): ReadableStream<Uint8Array<ArrayBuffer>> {
  const body = new TextEncoder().encode(text);
  const left = new AbortController();
  let sent = 0;
  return new ReadableStream<Uint8Array<ArrayBuffer>>(
    {
      pull: async (controller) => {
        await sleep(everyMs, undefined, { signal: left.signal });
        controller.enqueue(body.subarray(sent, sent + 1));
        sent += 1;
        if (sent === body.length) controller.close();
      },
      cancel: () => {
        left.abort();
      },
    },
    // Without a buffer the first wait begins when the headers are sent.
    { highWaterMark: 0 },
  );
}
