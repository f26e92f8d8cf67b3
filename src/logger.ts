/**
 * Owns the shape of a log line. Fields are primitives by type, so that no error, request, token or
 * claim set can be handed to the log by accident (redaction by path misses what it does not know).
 */
export type LogFields = Readonly<Record<string, string | number | boolean | undefined>>;

export type LogLevel = "debug" | "info" | "warn" | "error" | "fatal";

/** Writes one JSON object a line. `message` is a constant text; whatever varies is a field. */
export interface Logger {
  log(level: LogLevel, message: string, fields?: LogFields): void;
}

/** The frames of a defect's stack without its message, which may quote what was being parsed. */
export function describeDefect(error: unknown): { defect: string; stack?: string } {
  if (!(error instanceof Error)) return { defect: typeof error };
  // The stack begins with the message, whose lines may look like frames: it goes first.
  const { stack, message } = error;
  if (stack === undefined) return { defect: error.name };
  const messageAt = stack.indexOf(message);
  const afterMessage = messageAt === -1 ? "" : stack.slice(messageAt + message.length);
  const frames = afterMessage
    .split("\n")
    .slice(1)
    .filter((line) => line.startsWith("    at "))
    .map((line) => line.trim())
    .join("\n");
  return { defect: error.name, stack: frames };
}
