/**
 * Log of a Node process: pino makes one JSON object per line, and a writer of our own writes the
 * lines to standard output or standard error without blocking the process.
 *
 * Pino's own destination cannot be used. When the reader of the output is gone, its synchronous
 * flush at the exit retries for ever, and only SIGKILL ends the process.
 */
import { write } from "node:fs";

import pino from "pino";

import type { LogFields, Logger, LogLevel } from "../../logger.ts";

export interface NodeLog extends Logger {
  /** Writes a line at level `info`, even where `LOG_LEVEL` is higher. */
  announce(message: string, fields: LogFields): void;
  /** Resolves when all lines are written, or after half a second. Called before an exit. */
  drained(): Promise<void>;
}

/** Longest wait of an exit for a reader of the log that does not read, in milliseconds. */
const DRAIN_MS = 500;

/**
 * Creates the log of the process.
 *
 * @param level lines below it are dropped
 * @param pretty one readable line instead of JSON
 * @param fd 1 for standard output, 2 for standard error
 */
export function createNodeLog(level: LogLevel, pretty: boolean, fd: 1 | 2 = 1): NodeLog {
  const writer = createLineWriter(fd);
  const destination = pretty ? { write: (line: string) => writer.write(prettify(line)) } : writer;
  const create = (leastLevel: LogLevel) =>
    pino(
      {
        level: leastLevel,
        // No process id and no host name: the log collector adds the name of the container.
        base: null,
        timestamp: pino.stdTimeFunctions.isoTime,
        formatters: { level: (label) => ({ level: label }) },
      },
      destination,
    );
  const logger = create(level);
  const announcer = create("info");
  return {
    log: (lineLevel, message, fields) => {
      if (fields === undefined) logger[lineLevel](message);
      else logger[lineLevel](fields, message);
    },
    announce: (message, fields) => announcer.info(fields, message),
    drained: () => writer.drained(DRAIN_MS),
  };
}

/** Formats a line for a terminal: `12:30:01 info request status=201 ms=3.1`. */
function prettify(line: string): string {
  const { time, level, msg, ...fields } = JSON.parse(line) as Record<string, unknown>; // oxlint-disable-line typescript/no-unsafe-type-assertion -- pino's own line
  const rest = Object.entries(fields).map(([name, value]) => `${name}=${String(value)}`);
  return `${[String(time).slice(11, 19), level, msg, ...rest].join(" ")}\n`;
}

interface LineWriter {
  write(line: string): void;
  /** Resolves when all lines are written, the reader is gone, or `waitMs` have passed. */
  drained(waitMs: number): Promise<void>;
}

/** Most characters that wait for a reader that does not read. Further lines are dropped. */
const BACKLOG_CHARS_MAX = 16_777_216;
/** Pause before a full pipe is tried again, in milliseconds. */
const RETRY_MS = 10;
/**
 * A busy process gathers lines for this time, in milliseconds, and writes them together: a write per
 * line would cost it a tenth of its CPU time. A killed process loses at most these lines.
 */
const GATHER_MS = 50;
/** A process is busy from this number of lines in `GATHER_MS` on. */
const BUSY_LINES = 16;
/** Characters that are written at once, without waiting for more. */
const GATHERED_CHARS_MAX = 65_536;

/** Writes lines in order, several at a time. */
function createLineWriter(fd: number): LineWriter {
  let backlog = "";
  /** From the first gathered line until everything is written. */
  let writing = false;
  let gathering: NodeJS.Timeout | undefined;
  let gone = false;
  let waiting: (() => void)[] = [];
  const isBusy = createRateCheck();
  let busy = false;

  const settle = () => {
    if (backlog !== "" && !gone) {
      if (busy && waiting.length === 0) gather();
      else flush();
      return;
    }
    writing = false;
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

  const gather = () => {
    gathering = setTimeout(flush, GATHER_MS);
  };

  const flush = () => {
    clearTimeout(gathering);
    gathering = undefined;
    const bytes = new TextEncoder().encode(backlog);
    backlog = "";
    writeOut(bytes);
  };

  return {
    write(line) {
      if (gone || backlog.length > BACKLOG_CHARS_MAX) return;
      backlog += line;
      busy = isBusy();
      if (!writing) {
        writing = true;
        if (busy) gather();
        else flush();
      } else if (gathering !== undefined && backlog.length > GATHERED_CHARS_MAX) flush();
    },
    drained: (waitMs) =>
      new Promise((resolve) => {
        if (!writing) {
          resolve();
          return;
        }
        if (gathering !== undefined) flush();
        const timer = setTimeout(resolve, waitMs);
        waiting.push(() => {
          clearTimeout(timer);
          resolve();
        });
      }),
  };
}

/** Returns a function to call for each line; it tells whether lines come so fast that they gather. */
function createRateCheck(): () => boolean {
  let windowMs = 0;
  let lines = 0;
  let wasBusy = false;
  return () => {
    const nowMs = performance.now();
    if (nowMs - windowMs >= GATHER_MS) {
      wasBusy = lines >= BUSY_LINES && nowMs - windowMs < 2 * GATHER_MS;
      windowMs = nowMs;
      lines = 0;
    }
    lines += 1;
    return wasBusy || lines >= BUSY_LINES;
  };
}
