#!/usr/bin/env node
/**
 * Owns the command `uponai-bff`: finds the command, prints what it says, and the exit codes: 0 done,
 * 1 it could not be done, 2 the command line is wrong. `start` has those of the service.
 */
import { runService } from "../platform/node/run.ts";
import { keysCommand } from "./keys-command.ts";
import { revokeCommand } from "./revoke-command.ts";
import { tokenCommand } from "./token-command.ts";
import { type Command, CommandError, UsageError } from "./usage.ts";

const startCommand: Command = {
  summary: "runs the service",
  help: `uponai-bff start: runs the service, configured by environment variables only.

Usage: uponai-bff start

Exit codes: 0 stopped by a signal with everything answered, 1 a defect or an unfinished drain,
78 the configuration is wrong (each problem has a line).
`,
  run: async (args) => {
    if (args.length > 0) throw new UsageError("start takes no arguments");
    await runService();
    return undefined;
  },
};

const commands: Readonly<Record<string, Command>> = {
  start: startCommand,
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
is wrong; those of start are its own.
`;

const HELP_FLAGS: ReadonlySet<string> = new Set(["--help", "-h"]);

async function run([name = "--help", ...args]: readonly string[]): Promise<string | undefined> {
  if (HELP_FLAGS.has(name)) return overview.trimEnd();
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (command === undefined) throw new UsageError(`there is no command "${name}"`);
  if (args.some((argument) => HELP_FLAGS.has(argument))) return command.help.trimEnd();
  return command.run(args);
}

try {
  const output = await run(process.argv.slice(2));
  if (output !== undefined) process.stdout.write(`${output}\n`);
} catch (error) {
  // Node's parseArgs throws TypeErrors with codes of its own for options that do not exist.
  const usage =
    error instanceof UsageError ||
    (error instanceof TypeError &&
      "code" in error &&
      String(error.code).startsWith("ERR_PARSE_ARGS"));
  if (!usage && !(error instanceof CommandError)) throw error;
  process.stderr.write(`uponai-bff: ${error.message}\n${usage ? "See uponai-bff --help.\n" : ""}`);
  process.exitCode = usage ? 2 : 1;
}
