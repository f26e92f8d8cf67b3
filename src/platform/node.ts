/**
 * Owns the life of the process on Node: reads the environment, starts, and on SIGTERM or SIGINT
 * drains and ends. Exit codes: 0 drained, 1 a defect or an unfinished drain, 78 configuration
 * (EX_CONFIG of sysexits.h).
 */
import { type Config, parseConfig } from "../config/config.ts";
import { describeDefect } from "../logger.ts";
import { resolveSecretFiles } from "./node/environment.ts";
import { createNodeLog, type NodeLog } from "./node/log.ts";
import { type NodeServer, startNodeServer } from "./node/server.ts";
import { createNodeService, type NodeService } from "./node/service.ts";

const EXIT_CONFIG = 78;

/** Under npm one Ctrl-C comes twice, from the terminal and from npm, a few milliseconds apart. */
const SAME_SIGNAL_MS = 50;

function exit(log: NodeLog, code: number): never {
  log.flush();
  process.exit(code);
}

function readConfig(): Config {
  const log = createNodeLog("info", false, 2);
  const { environment, problems: fileProblems } = resolveSecretFiles(process.env);
  const result = parseConfig(environment);
  const others = result.kind === "problems" ? result.problems : [];
  // A secret whose file could not be read must not be told missing too.
  const unread = new Set(fileProblems.map(({ variable }) => variable));
  const problems = [
    ...fileProblems,
    ...others.filter(({ variable }) => !unread.has(`${variable}_FILE`)),
  ];
  for (const { variable, problem, example } of problems) {
    log.log("fatal", `${variable} ${problem}. Example: ${example}`, { variable });
  }
  if (result.kind === "problems" || problems.length > 0) exit(log, EXIT_CONFIG);
  for (const warning of result.warnings) log.log("warn", warning);
  log.flush();
  return result.config;
}

/** Defects outside a request: the process is in an unknown state and must not go on. */
function exitOnDefects(log: NodeLog): void {
  const fail = (error: unknown) => {
    log.log("fatal", "defect", describeDefect(error));
    exit(log, 1);
  };
  process.on("uncaughtException", fail);
  process.on("unhandledRejection", fail);
  // Node prints its warnings as plain text; here every line is JSON.
  process.removeAllListeners("warning");
  process.on("warning", ({ name, message }) =>
    log.log("warn", "runtime warning", { name, message }),
  );
}

function stopOnSignals(
  log: NodeLog,
  graceMs: number,
  { gate, close }: NodeService,
  server: NodeServer,
): void {
  const stop = async (signal: string) => {
    log.log("info", "stopping", { signal, inFlight: gate.inFlight });
    setTimeout(() => {
      log.log("error", "stopped before all was answered", { cut: gate.inFlight });
      exit(log, 1);
    }, graceMs).unref();
    // The listener stays open while requests are answered: whoever comes meanwhile is told 503.
    await gate.drain();
    await server.close();
    await close();
    log.log("info", "stopped");
    exit(log, 0);
  };
  let stoppingSinceMs: number | undefined;
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.on(signal, () => {
      if (stoppingSinceMs !== undefined) {
        if (performance.now() - stoppingSinceMs < SAME_SIGNAL_MS) return;
        log.log("error", "stopped at once by a second signal", { cut: gate.inFlight });
        exit(log, 1);
      }
      stoppingSinceMs = performance.now();
      void stop(signal);
    });
  }
}

async function main(): Promise<void> {
  const config = readConfig();
  const pretty = config.log.pretty && process.stdout.isTTY;
  const log = createNodeLog(config.log.level, pretty);
  exitOnDefects(log);
  const result = await createNodeService(config, log);
  if (result.kind === "problem") {
    const { variable, problem, example } = result.problem;
    log.log("fatal", `${variable} ${problem}. Example: ${example}`, { variable });
    exit(log, EXIT_CONFIG);
  }
  const { service } = result;
  const { host } = config.listen;
  const server = await startNodeServer(service.app.fetch, service.gate, config.listen).catch(
    (error: unknown) => {
      const code = error instanceof Error && "code" in error ? String(error.code) : "unknown";
      log.log("fatal", "cannot listen", { host, port: config.listen.port, code });
      return exit(log, 1);
    },
  );
  stopOnSignals(log, config.shutdownGraceMs, service, server);
  log.log("info", "listening", { host, port: server.port, state: config.state.kind });
}

await main();
