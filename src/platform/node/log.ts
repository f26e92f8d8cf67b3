/** Owns how log lines leave a Node process: pino, one JSON object a line, never a blocking write. */
import pino from "pino";

import type { Logger, LogLevel } from "../../logger.ts";

export interface NodeLog extends Logger {
  /** Writes out what is still buffered; for the last moment before an exit. */
  flush(): void;
}

/** @param fd 1 for standard output, 2 for standard error */
export function createNodeLog(level: LogLevel, pretty: boolean, fd: 1 | 2 = 1): NodeLog {
  const file = pino.destination({ dest: fd, sync: false });
  // A reader of our output that goes away must not take the service with it.
  file.on("error", () => undefined);
  const destination = pretty ? { write: (line: string) => file.write(prettify(line)) } : file;
  const logger = pino(
    {
      level,
      // Process id and host name are the container's business.
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    destination,
  );
  return {
    log: (lineLevel, message, fields) => {
      if (fields === undefined) logger[lineLevel](message);
      else logger[lineLevel](fields, message);
    },
    flush: () => {
      try {
        file.flushSync();
      } catch {
        // Not yet open, or its reader is gone: nothing is left to be done.
      }
    },
  };
}

/** A line for people: `12:30:01 info request status=201 ms=3.1`. */
function prettify(line: string): string {
  const { time, level, msg, ...fields } = JSON.parse(line) as Record<string, unknown>; // oxlint-disable-line typescript/no-unsafe-type-assertion -- pino's own line
  const rest = Object.entries(fields).map(([name, value]) => `${name}=${String(value)}`);
  return `${[String(time).slice(11, 19), level, msg, ...rest].join(" ")}\n`;
}
