#!/usr/bin/env node
/**
 * Starts the command `uponai-bff`. It imports all modules dynamically and uses only old
 * syntax, so that a Node that is too old can still print that it is.
 */
async function start(): Promise<void> {
  const { describeOldNode, EXIT_UNSUPPORTED_NODE } =
    await import("../platform/node/node-version.ts");
  const problem = describeOldNode(process.versions.node);
  if (problem !== undefined) {
    process.stderr.write(`${problem}\n`);
    process.exitCode = EXIT_UNSUPPORTED_NODE;
    return;
  }
  const { runCommand } = await import("./run-command.ts");
  await runCommand(process.argv.slice(2));
}

void start();
