/**
 * Error codes of Redis failures for the log. An error's text may quote a command, so it is not
 * logged.
 */
import { ReplyError } from "ioredis";

/** The code of an error that has none of its own. */
export const UNREACHABLE = "unreachable";

/** The text of Redis 6.2 and 7.0 in a script for what later versions call NOPERM. */
const FORBIDDEN_IN_SCRIPT = "The user executing the script can't run this command or subcommand";

/**
 * Returns a code for a failure that holds nothing secret: the code of a system error, or the word
 * at the start of a Redis error reply (`WRONGPASS`, `NOAUTH`, `READONLY`).
 *
 * @returns `UNREACHABLE` for an error without a code, `unknown` for what is not an Error
 */
export function readErrorCode(error: unknown): string {
  if (!(error instanceof Error)) return "unknown";
  if ("code" in error && typeof error.code === "string") return error.code;
  if (error instanceof ReplyError) {
    const code = /^[A-Z]+/.exec(error.message)?.[0] ?? "reply";
    // Only the logged code depends on this text, never what the service does.
    return code === "ERR" && error.message.includes(FORBIDDEN_IN_SCRIPT) ? "NOPERM" : code;
  }
  // ioredis gives the reply of a Sentinel only as part of a longer text.
  return /\b(?:WRONGPASS|NOAUTH|NOPERM|E[A-Z]{5,})\b/.exec(error.message)?.[0] ?? UNREACHABLE;
}
