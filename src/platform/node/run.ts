/**
 * Owns the life of the process on Node: reads the environment, starts, and on SIGTERM or SIGINT
 * drains and ends. Exit codes: 0 drained, 1 a defect or an unfinished drain, 78 configuration
 * (EX_CONFIG of sysexits.h).
 */
import { type Config, type ConfigProblem, parseConfig } from "../../config/config.ts";
import { createCommonHeaders } from "../../http/common-headers.ts";
import { describeDefect } from "../../logger.ts";
import { resolveSecretFiles } from "./environment.ts";
import { createNodeLog, type NodeLog } from "./log.ts";
import { type NodeServer, startNodeServer } from "./server.ts";
import { createNodeService, type NodeService } from "./service.ts";

const EXIT_CONFIG = 78;

/** Under npm one Ctrl-C comes twice, from the terminal and from npm, a few milliseconds apart. */
const SAME_SIGNAL_MS = 50;

async function exit(log: NodeLog, code: number): Promise<never> {
  await log.drained();
  process.exit(code);
}

/** Runs the service until a signal ends the process. */
export async function runService(): Promise<void> {
  const startLog = createNodeLog("info", false, 2);
  const { config, problems, warnings } = readConfig();
  reportProblems(startLog, problems);
  if (config === undefined) return exit(startLog, EXIT_CONFIG);
  for (const warning of warnings) startLog.log("warn", warning);

  const log = createNodeLog(config.log.level, config.log.pretty && process.stdout.isTTY);
  exitOnDefects(log);
  silenceLibraries(log);
  const result = await createNodeService(config, log);
  if (result.kind === "problem") {
    reportProblems(log, [result.problem]);
    return exit(log, EXIT_CONFIG);
  }
  const { service } = result;
  const { host, port } = config.listen;
  try {
    const server = await startNodeServer(service.app.fetch, service.gate, {
      host,
      port,
      commonHeaders: createCommonHeaders(config.insecure),
      log,
    });
    stopOnSignals(log, config.shutdownGraceMs, service, server);
    log.announce("listening", { host, port: server.port, state: config.state.kind });
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : "unknown";
    log.log("fatal", "cannot listen", { host, port, code });
    await exit(log, 1);
  }
}

interface ConfigReading {
  readonly config: Config | undefined;
  readonly problems: readonly ConfigProblem[];
  readonly warnings: readonly string[];
}

function readConfig(): ConfigReading {
  const { environment, problems: fileProblems } = resolveSecretFiles(process.env);
  const result = parseConfig(environment);
  if (result.kind === "config" && fileProblems.length === 0) {
    return { config: result.config, problems: [], warnings: result.warnings };
  }
  const others = result.kind === "problems" ? result.problems : [];
  // A secret whose file could not be read must not be told missing too.
  const unread = new Set(fileProblems.map(({ variable }) => variable));
  const told = others.filter(({ variable }) => !unread.has(`${variable}_FILE`));
  return { config: undefined, problems: [...fileProblems, ...told], warnings: [] };
}

function reportProblems(log: NodeLog, problems: readonly ConfigProblem[]): void {
  for (const { variable, problem, example } of problems) {
    log.log("fatal", `${variable} ${problem}. Example: ${example}`, { variable });
  }
}

/** Defects outside a request: the process is in an unknown state and must not go on. */
function exitOnDefects(log: NodeLog): void {
  const fail = (error: unknown) => {
    log.log("fatal", "defect", describeDefect(error));
    void exit(log, 1);
  };
  process.on("uncaughtException", fail);
  process.on("unhandledRejection", fail);
}

/** Plain text has no place among JSON lines; and what a library writes may quote what it was given. */
function silenceLibraries(log: NodeLog): void {
  process.removeAllListeners("warning");
  process.on("warning", ({ name }) => log.log("warn", "runtime warning", { name }));
  for (const method of ["debug", "error", "info", "log", "warn"] as const) {
    console[method] = () => log.log("warn", "a library wrote to the console", { method });
  }
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
      void exit(log, 1);
    }, graceMs).unref();
    // The listener stays open while requests are answered: whoever comes meanwhile is told 503.
    const drained = gate.drain();
    server.stopKeepingAlive();
    await drained;
    await server.close();
    await close();
    log.log("info", "stopped");
    await exit(log, 0);
  };
  let stoppingSinceMs: number | undefined;
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.on(signal, () => {
      if (stoppingSinceMs === undefined) {
        stoppingSinceMs = performance.now();
        void stop(signal);
        return;
      }
      if (performance.now() - stoppingSinceMs < SAME_SIGNAL_MS) return;
      log.log("error", "stopped at once by a second signal", { cut: gate.inFlight });
      void exit(log, 1);
    });
  }
}
