#!/usr/bin/env node
/**
 * The entry of the command `uponai-bff`. It imports nothing statically and keeps to old syntax, so
 * that a Node that is too old gets as far as being told.
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
  const { runCommand } = await import("./commands.ts");
  await runCommand(process.argv.slice(2));
}

void start();
