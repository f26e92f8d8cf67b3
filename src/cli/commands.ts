/**
 * The command `uponai-bff`: finds the command, prints what it says, and sets the exit code: 0 done,
 * 1 it could not be done, 2 the command line is wrong. `start` and `doctor` have their own.
 */
import { catchStopSignals } from "../platform/node/stop-signals.ts";
import { doctorCommand } from "./doctor-command.ts";
import { keysCommand } from "./keys-command.ts";
import { revokeCommand } from "./revoke-command.ts";
import { tokenCommand } from "./token-command.ts";
import { type Command, CommandError, type CommandResult, UsageError } from "./usage.ts";

const startCommand: Command = {
  summary: "runs the service",
  help: `uponai-bff start: runs the service, configured by environment variables only.

Usage: uponai-bff start

Exit codes: 0 stopped by a signal with everything answered, 1 a defect or an unfinished drain,
78 the configuration is wrong (each problem has a line) or Node is too old.
`,
  run: async (args) => {
    if (args.length > 0) throw new UsageError("start takes no arguments");
    // Before the service is loaded, which takes a while.
    const signals = catchStopSignals();
    const { runService } = await import("../platform/node/run.ts");
    await runService(signals);
    return undefined;
  },
};

const commands: Readonly<Record<string, Command>> = {
  start: startCommand,
  doctor: doctorCommand,
  token: tokenCommand,
  keys: keysCommand,
  revoke: revokeCommand,
};

const overview = `uponai-bff: the backend between a web frontend and UponAI chat agents.

Usage: uponai-bff COMMAND [options]

${Object.entries(commands)
  .map(([name, { summary }]) => `  ${name.padEnd(8)} ${summary}`)
  .join("\n")}

uponai-bff COMMAND --help says more. Exit codes: 0 done, 1 it could not be done, 2 the command line
is wrong; those of start and doctor are their own.
`;

const HELP_FLAGS: ReadonlySet<string> = new Set(["--help", "-h"]);

async function run([name = "--help", ...args]: readonly string[]): ReturnType<Command["run"]> {
  if (HELP_FLAGS.has(name)) return overview.trimEnd();
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (command === undefined) throw new UsageError(`there is no command "${name}"`);
  if (args.some((argument) => HELP_FLAGS.has(argument))) return command.help.trimEnd();
  return command.run(args);
}

function print({ text, exitCode }: CommandResult): void {
  process.stdout.write(`${text}\n`);
  process.exitCode = exitCode;
}

/**
 * Runs what the command line asks for, and sets the exit code of the process.
 *
 * @param args the command line without the program
 */
export async function runCommand(args: readonly string[]): Promise<void> {
  try {
    const output = await run(args);
    if (output !== undefined)
      print(typeof output === "string" ? { text: output, exitCode: 0 } : output);
  } catch (error) {
    // Node's parseArgs throws TypeErrors with codes of its own for options that do not exist.
    const usage =
      error instanceof UsageError ||
      (error instanceof TypeError &&
        "code" in error &&
        String(error.code).startsWith("ERR_PARSE_ARGS"));
    if (!usage && !(error instanceof CommandError)) throw error;
    process.stderr.write(
      `uponai-bff: ${error.message}\n${usage ? "See uponai-bff --help.\n" : ""}`,
    );
    process.exitCode = usage ? 2 : 1;
  }
}
