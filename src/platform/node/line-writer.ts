/**
 * Owns writing lines to an output stream of the process without ever blocking it. Lines that come
 * while a write is under way share the next one.
 *
 * Pino's own destination cannot be used: where the reader of the output is gone, its synchronous
 * flush at the exit tries again for ever, and the process can only be killed.
 */
import { write } from "node:fs";

export interface LineWriter {
  write(line: string): void;
  /** Resolves when all is written, the reader is gone, or `waitMs` have passed. */
  drained(waitMs: number): Promise<void>;
}

/** Lines kept for a reader that does not read, in characters; what comes then is dropped. */
const BACKLOG_CHARS_MAX = 16_777_216;
/** How soon a full pipe is tried again, in milliseconds. */
const RETRY_MS = 10;

/** @param fd 1 for standard output, 2 for standard error */
export function createLineWriter(fd: number): LineWriter {
  let backlog = "";
  let writing = false;
  let gone = false;
  let waiting: (() => void)[] = [];

  const settle = () => {
    writing = false;
    if (backlog !== "" && !gone) {
      flush();
      return;
    }
    for (const resolve of waiting) resolve();
    waiting = [];
  };

  const writeOut = (bytes: Uint8Array) => {
    write(fd, bytes, (error, written) => {
      if (error !== null && error.code !== "EAGAIN") {
        gone = true;
        backlog = "";
        settle();
        return;
      }
      const rest = bytes.subarray(error === null ? written : 0);
      if (rest.byteLength === 0) settle();
      else setTimeout(writeOut, error === null ? 0 : RETRY_MS, rest);
    });
  };

  const flush = () => {
    writing = true;
    const bytes = new TextEncoder().encode(backlog);
    backlog = "";
    writeOut(bytes);
  };

  return {
    write(line) {
      if (gone || backlog.length > BACKLOG_CHARS_MAX) return;
      backlog += line;
      if (!writing) flush();
    },
    drained: (waitMs) =>
      new Promise((resolve) => {
        if (!writing) {
          resolve();
          return;
        }
        const timer = setTimeout(resolve, waitMs);
        waiting.push(() => {
          clearTimeout(timer);
          resolve();
        });
      }),
  };
}
