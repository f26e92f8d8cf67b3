/** Owns what may be said of a failure of Redis: a word, never its text. */
import { ReplyError } from "ioredis";

/**
 * A word that names a failure without anything secret in it: a system error's code, or the error
 * code that starts a Redis error reply (`WRONGPASS`, `NOAUTH`, `READONLY`).
 */
export function readErrorCode(error: unknown): string {
  if (!(error instanceof Error)) return "unknown";
  if ("code" in error && typeof error.code === "string") return error.code;
  if (error instanceof ReplyError) return /^[A-Z]+/.exec(error.message)?.[0] ?? "reply";
  return error.name;
}
