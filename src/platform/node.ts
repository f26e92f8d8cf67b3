/**
 * Entry of the service on Node, for `npm start` and for the container. It loads every module with
 * `import()` and uses only old syntax: a Node that is too old must get far enough to log that it is
 * too old.
 */
async function start(): Promise<void> {
  const { describeOldNode, EXIT_UNSUPPORTED_NODE } = await import("./node/node-version.ts");
  const problem = describeOldNode(process.versions.node);
  if (problem !== undefined) {
    // The same form as every other line of the log.
    const line = { level: "fatal", time: new Date().toISOString(), msg: problem };
    process.stderr.write(`${JSON.stringify(line)}\n`);
    process.exitCode = EXIT_UNSUPPORTED_NODE;
    return;
  }
  // First, because loading the other modules takes a while and a signal may arrive meanwhile.
  const { catchStopSignals } = await import("./node/stop-signals.ts");
  const signals = catchStopSignals();
  const { runService } = await import("./node/run.ts");
  await runService(signals);
}

void start();
