/** Owns what may be said of a failure of Redis: a word, never its text. */
import { ReplyError } from "ioredis";

/** The word for errors that say no more than that something failed. */
export const UNREACHABLE = "unreachable";

/**
 * A word that names a failure without anything secret in it: a system error's code, or the error
 * code that starts a Redis error reply (`WRONGPASS`, `NOAUTH`, `READONLY`).
 */
export function readErrorCode(error: unknown): string {
  if (!(error instanceof Error)) return "unknown";
  if ("code" in error && typeof error.code === "string") return error.code;
  if (error instanceof ReplyError) return /^[A-Z]+/.exec(error.message)?.[0] ?? "reply";
  // What a Sentinel said comes only as a part of a longer text.
  return /\b(?:WRONGPASS|NOAUTH|NOPERM|E[A-Z]{5,})\b/.exec(error.message)?.[0] ?? UNREACHABLE;
}
