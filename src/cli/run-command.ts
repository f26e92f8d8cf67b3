/**
 * Runs a command of `uponai-bff`: selects it by name, prints its output and sets the exit code. The
 * code is 0 for success, 1 for a failure and 2 for a wrong command line; `start` and `doctor` set
 * their own.
 */
import { catchStopSignals } from "../platform/node/stop-signals.ts";
import { doctorCommand } from "./doctor/doctor-command.ts";
import { initCommand } from "./init-command.ts";
import { keysCommand } from "./keys-command.ts";
import { revokeCommand } from "./revoke-command.ts";
import { tokenCommand } from "./token-command.ts";
import { type Command, CommandError, type CommandResult, UsageError } from "./command.ts";

const startCommand: Command = {
  summary: "runs the service",
  help: `uponai-bff start: runs the service. Its configuration is environment variables, and those of .env in
the current folder.

Usage: uponai-bff start

Exit codes: 0 stopped by a signal after all requests were answered, 1 stopped by a defect or before
all requests were answered, 78 the configuration is wrong (one line per problem) or Node is too old.
`,
  run: async (args) => {
    if (args.length > 0) throw new UsageError("start takes no arguments");
    // The signals are caught first: loading the service takes a while, and a stop must not be lost.
    const signals = catchStopSignals();
    const { runService } = await import("../platform/node/run.ts");
    await runService(signals);
    return undefined;
  },
};

const emulatorCommand: Command = {
  summary: "runs a stand-in for UponAI on loopback",
  help: `uponai-bff emulator: runs a stand-in for UponAI on loopback, for development without an account.

Usage: uponai-bff emulator [--port 8790]
`,
  run: async () => {
    // It reads the command line itself, without the name of this command.
    process.argv.splice(2, 1);
    await import("../emulator/main.ts");
    return undefined;
  },
};

const commands: Readonly<Record<string, Command>> = {
  init: initCommand,
  emulator: emulatorCommand,
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

Run uponai-bff COMMAND --help for the options. Exit codes: 0 success, 1 failure, 2 the command line
is wrong. The commands start and doctor have their own exit codes.
`;

const HELP_FLAGS: ReadonlySet<string> = new Set(["--help", "-h"]);

async function run([name = "--help", ...args]: readonly string[]): ReturnType<Command["run"]> {
  if (HELP_FLAGS.has(name)) return overview.trimEnd();
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (command === undefined) throw new UsageError(`there is no command "${name}"`);
  if (args.some((argument) => HELP_FLAGS.has(argument))) return command.help.trimEnd();
  loadFile();
  return command.run(args);
}

/** Reads `.env` of the current folder if there is one. Variables of the environment come first. */
function loadFile(): void {
  try {
    process.loadEnvFile();
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : "unknown";
    if (code !== "ENOENT") throw new CommandError(`.env cannot be read: ${code}`);
  }
}

function print({ text, exitCode }: CommandResult): void {
  process.stdout.write(`${text}\n`);
  process.exitCode = exitCode;
}

/**
 * Runs the command that the command line names, and sets the exit code of the process.
 *
 * @param args the command line without the program name
 */
export async function runCommand(args: readonly string[]): Promise<void> {
  try {
    const output = await run(args);
    if (output !== undefined)
      print(typeof output === "string" ? { text: output, exitCode: 0 } : output);
  } catch (error) {
    // parseArgs of Node throws a TypeError with a code for an unknown option.
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
