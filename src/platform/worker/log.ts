/** Log of a Worker: one JSON object per line, written with the console. */
import type { Logger, LogLevel } from "../../logger.ts";

const RANKS: Readonly<Record<LogLevel, number>> = {
  debug: 0,
  info: 1,
  warn: 2,
  error: 3,
  fatal: 4,
};

/** Console method by level: Cloudflare's log viewer shows the level of the console. */
const METHODS = {
  debug: "debug",
  info: "log",
  warn: "warn",
  error: "error",
  fatal: "error",
} as const satisfies Record<LogLevel, keyof Console>;

/** Creates the log of an isolate. Lines below the level `least` are dropped. */
export function createWorkerLog(least: LogLevel): Logger {
  return {
    log(level, msg, fields) {
      if (RANKS[level] < RANKS[least]) return;
      const line = { level, time: new Date().toISOString(), ...fields, msg };
      console[METHODS[level]](JSON.stringify(line)); // oxlint-disable-line no-console -- a Worker has no other output
    },
  };
}
