/** Names a failure of Redis by a word, never by its text. */
import { ReplyError } from "ioredis";

/** The word for errors that say no more than that something failed. */
export const UNREACHABLE = "unreachable";

/** How Redis 6.2 and 7.0 say within a script what later ones call NOPERM. */
const FORBIDDEN_IN_SCRIPT = "The user executing the script can't run this command or subcommand";

/**
 * A word that names a failure without anything secret in it: a system error's code, or the error
 * code that starts a Redis error reply (`WRONGPASS`, `NOAUTH`, `READONLY`).
 */
export function readErrorCode(error: unknown): string {
  if (!(error instanceof Error)) return "unknown";
  if ("code" in error && typeof error.code === "string") return error.code;
  if (error instanceof ReplyError) {
    const code = /^[A-Z]+/.exec(error.message)?.[0] ?? "reply";
    // The text is read for the name alone; nothing is decided by it.
    return code === "ERR" && error.message.includes(FORBIDDEN_IN_SCRIPT) ? "NOPERM" : code;
  }
  // What a Sentinel said comes only as a part of a longer text.
  return /\b(?:WRONGPASS|NOAUTH|NOPERM|E[A-Z]{5,})\b/.exec(error.message)?.[0] ?? UNREACHABLE;
}
