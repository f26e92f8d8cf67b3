/** Owns how log lines leave a Node process: pino, one JSON object a line, never a blocking write. */
import pino from "pino";

import type { LogFields, Logger, LogLevel } from "../../logger.ts";
import { createLineWriter } from "./line-writer.ts";

export interface NodeLog extends Logger {
  /** Writes an information line whatever the least level is. */
  announce(message: string, fields: LogFields): void;
  /** Resolves when the lines are out, or soon after in any case; for the moment before an exit. */
  drained(): Promise<void>;
}

/** How long an exit waits for a reader of the log that does not read, in milliseconds. */
const DRAIN_MS = 500;

/** @param fd 1 for standard output, 2 for standard error */
export function createNodeLog(level: LogLevel, pretty: boolean, fd: 1 | 2 = 1): NodeLog {
  const writer = createLineWriter(fd);
  const destination = pretty ? { write: (line: string) => writer.write(prettify(line)) } : writer;
  const create = (leastLevel: LogLevel) =>
    pino(
      {
        level: leastLevel,
        // Process id and host name are the container's business.
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

/** A line for people: `12:30:01 info request status=201 ms=3.1`. */
function prettify(line: string): string {
  const { time, level, msg, ...fields } = JSON.parse(line) as Record<string, unknown>; // oxlint-disable-line typescript/no-unsafe-type-assertion -- pino's own line
  const rest = Object.entries(fields).map(([name, value]) => `${name}=${String(value)}`);
  return `${[String(time).slice(11, 19), level, msg, ...rest].join(" ")}\n`;
}
