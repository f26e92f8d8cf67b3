/**
 * The entry of the service on Node: `npm start`, and what a container runs. It imports nothing
 * statically and keeps to old syntax, so that a Node that is too old gets as far as being told.
 */
async function start(): Promise<void> {
  const { describeOldNode, EXIT_UNSUPPORTED_NODE } = await import("./node/node-version.ts");
  const problem = describeOldNode(process.versions.node);
  if (problem !== undefined) {
    // As every other line of the log.
    const line = { level: "fatal", time: new Date().toISOString(), msg: problem };
    process.stderr.write(`${JSON.stringify(line)}\n`);
    process.exitCode = EXIT_UNSUPPORTED_NODE;
    return;
  }
  // Before the rest is loaded, which takes a while.
  const { catchStopSignals } = await import("./node/stop-signals.ts");
  const signals = catchStopSignals();
  const { runService } = await import("./node/run.ts");
  await runService(signals);
}

void start();
