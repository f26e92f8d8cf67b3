import * as fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

import { type BodyRead, joinChunks, readStream } from "./read-stream.ts";

const LIMITS = { bytesMax: 10, timeoutMs: 1_000 };
const NONE = new Uint8Array();

interface Watched {
  readonly stream: ReadableStream<Uint8Array>;
  /** Number of chunks that were requested. */
  readonly pulled: () => number;
  readonly cancelled: () => boolean;
}

/** A stream that returns its chunks one by one, and then ends, fails or hangs. */
function streamOf(sizes: readonly number[], then: "end" | "break" | "hang" = "end"): Watched {
  let pulled = 0;
  let cancelled = false;
  const stream = new ReadableStream<Uint8Array>(
    {
      pull(controller) {
        const size = sizes[pulled];
        pulled += 1;
        if (size !== undefined) controller.enqueue(new Uint8Array(size).fill(pulled));
        else if (then === "end") controller.close();
        else if (then === "break") controller.error(new Error("connection lost"));
        else return new Promise<void>(() => undefined);
        return undefined;
      },
      cancel() {
        cancelled = true;
      },
    },
    { highWaterMark: 0 },
  );
  return { stream, pulled: () => pulled, cancelled: () => cancelled };
}

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

describe("a body within its bounds", () => {
  test("no stream is an empty body", async () => {
    expect(await readStream(null, LIMITS)).toEqual({ kind: "read", bytes: NONE });
  });

  test("an empty stream is an empty body", async () => {
    expect(await readStream(streamOf([]).stream, LIMITS)).toEqual({ kind: "read", bytes: NONE });
  });

  test("chunks are joined in order, and no timer is left behind", async () => {
    const { stream, cancelled } = streamOf([2, 0, 3]);
    expect(await readStream(stream, LIMITS)).toEqual({
      kind: "read",
      bytes: Uint8Array.of(1, 1, 3, 3, 3),
    });
    expect(cancelled()).toBe(false);
    expect(vi.getTimerCount()).toBe(0);
  });

  test("exactly the most bytes are accepted", async () => {
    const body = await readStream(streamOf([5, 5]).stream, LIMITS);
    expect(body.kind).toBe("read");
  });

  test("a body is read if it fits and refused if it does not, for any chunks", async () => {
    const cuts = fc.array(fc.integer({ min: 0, max: 6 }), { maxLength: 6 });
    await fc.assert(
      fc.asyncProperty(cuts, async (sizes) => {
        const size = sizes.reduce((sum, more) => sum + more, 0);
        const body = await readStream(streamOf(sizes).stream, LIMITS);
        const read = body.kind === "read" ? body.bytes.byteLength : body.kind;
        expect(read).toBe(size <= LIMITS.bytesMax ? size : "too_large");
      }),
    );
  });
});

describe("a body out of bounds", () => {
  test("one byte too many is refused, and nothing more is read", async () => {
    const { stream, pulled, cancelled } = streamOf([10, 1, 1_000_000, 1_000_000]);
    expect(await readStream(stream, LIMITS)).toEqual({ kind: "too_large" });
    expect(pulled()).toBe(2);
    expect(cancelled()).toBe(true);
    expect(vi.getTimerCount()).toBe(0);
  });

  test("one that never ends is refused when its time is up, not before", async () => {
    const { stream, cancelled } = streamOf([3], "hang");
    const settled = vi.fn<(body: BodyRead) => void>();
    const reading = readStream(stream, LIMITS).then(settled);
    await vi.advanceTimersByTimeAsync(999);
    expect(settled).not.toHaveBeenCalled();
    await vi.advanceTimersByTimeAsync(1);
    await reading;
    expect(settled).toHaveBeenCalledExactlyOnceWith({ kind: "too_slow" });
    expect(cancelled()).toBe(true);
  });

  test("one that arrives slowly gets no more time", async () => {
    let timer: ReturnType<typeof setInterval> | undefined;
    const stream = new ReadableStream<Uint8Array>({
      start(controller) {
        timer = setInterval(() => controller.enqueue(Uint8Array.of(1)), 300);
      },
      cancel: () => clearInterval(timer),
    });
    const reading = readStream(stream, LIMITS);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(await reading).toEqual({ kind: "too_slow" });
    expect(vi.getTimerCount()).toBe(0);
  });

  test("one whose sender leaves is aborted, not read as if it were complete", async () => {
    const { stream } = streamOf([3], "break");
    expect(await readStream(stream, LIMITS)).toEqual({ kind: "aborted" });
    expect(vi.getTimerCount()).toBe(0);
  });

  test("a stream that cannot be cancelled is refused all the same", async () => {
    const stream = new ReadableStream<Uint8Array>({
      start: (controller) => controller.enqueue(new Uint8Array(11)),
      cancel: () => Promise.reject(new Error("will not stop")),
    });
    expect(await readStream(stream, LIMITS)).toEqual({ kind: "too_large" });
  });
});

describe("joining chunks", () => {
  test("no chunk is no byte, and a single one is not copied", () => {
    const only = Uint8Array.of(1, 2);
    expect(joinChunks([], 0)).toEqual(NONE);
    expect(joinChunks([only], 2)).toBe(only);
  });

  test("several make one array of all their bytes", () => {
    const chunks = [Uint8Array.of(1), NONE, Uint8Array.of(2, 3)];
    expect(joinChunks(chunks, 3)).toEqual(Uint8Array.of(1, 2, 3));
  });
});
