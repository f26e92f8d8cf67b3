/** Owns how commands fail and are described; no command knows more of the process than this. */

/** The command line is wrong: told in one line, with the way to the help; exit code 2. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** The command could not do what it was asked; told in one line; exit code 1. */
export class CommandError extends Error {
  override readonly name = "CommandError";
}

/** What a command has to say where it also decides the exit code. */
export interface CommandResult {
  readonly text: string;
  readonly exitCode: number;
}

export interface Command {
  /** One line for the list of commands. */
  readonly summary: string;
  /** The text of `--help`. */
  readonly help: string;
  /** @returns what to print on standard output; undefined when it has ended with nothing to say */
  run(args: readonly string[]): Promise<string | CommandResult | undefined>;
}
