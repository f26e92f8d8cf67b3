/** Defines the interface of a command: its help, its result and its errors. */

/** The command line is wrong: one line with the message, one that points to the help; exit code 2. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** The command failed: the message is printed without a stack trace; exit code 1. */
export class CommandError extends Error {
  override readonly name = "CommandError";
}

/** The output of a command that sets its own exit code. */
export interface CommandResult {
  readonly text: string;
  readonly exitCode: number;
}

export interface Command {
  /** One line for the list of commands, without a subject: "runs the service". */
  readonly summary: string;
  /** The text of `--help`. */
  readonly help: string;
  /** @returns the text for standard output; undefined where there is none */
  run(args: readonly string[]): Promise<string | CommandResult | undefined>;
}
