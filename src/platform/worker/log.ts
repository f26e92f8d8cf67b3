/** Owns how log lines leave a Worker: one JSON object a line, through the console. */
import type { Logger, LogLevel } from "../../logger.ts";

const RANKS: Readonly<Record<LogLevel, number>> = {
  debug: 0,
  info: 1,
  warn: 2,
  error: 3,
  fatal: 4,
};

/** The platform's log viewer shows the console's level beside the line's own. */
const METHODS = {
  debug: "debug",
  info: "log",
  warn: "warn",
  error: "error",
  fatal: "error",
} as const satisfies Record<LogLevel, keyof Console>;

export function createWorkerLog(least: LogLevel): Logger {
  return {
    log(level, msg, fields) {
      if (RANKS[level] < RANKS[least]) return;
      const line = { level, time: new Date().toISOString(), ...fields, msg };
      console[METHODS[level]](JSON.stringify(line)); // oxlint-disable-line no-console -- the only way out
    },
  };
}
