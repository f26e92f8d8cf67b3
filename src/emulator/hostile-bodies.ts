// Owns the bodies that a careless reader chokes on. All are made while they are read: neither a slow
// nor a vanished reader makes the emulator hold more than a chunk.
import { setTimeout as sleep } from "node:timers/promises";

const CHUNK = new TextEncoder().encode("x".repeat(64 * 1024));

/** The JSON object `json` with a member `padding` in front, so that the whole has `bytes` bytes. */
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

/** `text`, one byte each `everyMs`. The reader's leaving ends the wait, so no timer outlives it. */
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
    // Nothing is prepared before it is asked for: the first wait begins when the headers leave.
    { highWaterMark: 0 },
  );
}
