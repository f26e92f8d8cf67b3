/**
 * The logging interface. The type allows only primitive fields, so that an error, a request, a
 * token or a set of claims cannot get into the log by accident. (Redaction by path misses unknown
 * paths.)
 */
export type LogFields = Readonly<Record<string, string | number | boolean | undefined>>;

export type LogLevel = "debug" | "info" | "warn" | "error" | "fatal";

/**
 * Writes one JSON object per line. `message` is a constant text; variable data goes into fields.
 */
export interface Logger {
  log(level: LogLevel, message: string, fields?: LogFields): void;
}

/**
 * Describes a defect for the log: the name of the error and the frames of its stack. The message is
 * left out, because it can quote the data that was parsed.
 */
export function describeDefect(error: unknown): { defect: string; stack?: string } {
  if (!(error instanceof Error)) return { defect: typeof error };
  // The stack begins with the message, whose lines can look like frames. So the message is cut off
  // before the frames are read.
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
