/**
 * Runs the service as a process on Node: reads the environment, starts, and on SIGTERM or SIGINT
 * drains and exits. Exit codes: 0 all requests were answered, 1 a defect or requests without an
 * answer, 78 a wrong configuration (EX_CONFIG of sysexits.h).
 */
import { setTimeout as pause } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";

import type { App } from "../../app.ts";
import type { Config } from "../../config/config.ts";
import { createCommonHeaders } from "../../http/common-headers.ts";
import { describeDefect } from "../../logger.ts";
import { reportProblems } from "../report-problems.ts";
import { createNodeLog, type NodeLog } from "./log.ts";
import { readConfig } from "./read-config.ts";
import { type NodeServer, startNodeServer } from "./server.ts";
import { createNodeService, type NodeService } from "./service.ts";
import type { StopSignals } from "./stop-signals.ts";

const EXIT_CONFIG = 78;

/**
 * Signals within this time count as one, in milliseconds. Under npm one Ctrl-C arrives twice, from
 * the terminal and from npm.
 */
const SAME_SIGNAL_MS = 50;

/**
 * Keeps V8 from allocating objects in the old space at once. It decides that in the first second of
 * load, when messages take long, and is wrong in half of the starts: 9 % of what a message allocates
 * is then kept until a full collection, instead of 3 %, and each short collection takes twice as long.
 */
const V8_FLAG = "--no-allocation-site-pretenuring";

async function exit(log: NodeLog, code: number): Promise<never> {
  await log.drained();
  process.exit(code);
}

/**
 * Runs the service until a signal ends the process.
 *
 * @param signals caught since the process began, so that none is lost during the start
 */
export async function runService(signals: StopSignals): Promise<void> {
  setFlagsFromString(V8_FLAG);
  const startLog = createNodeLog("info", false, 2);
  stopDuringStart(startLog, signals);
  const { config, problems, warnings, proxies } = readConfig();
  reportProblems(startLog, problems);
  if (config === undefined) return exit(startLog, EXIT_CONFIG);
  for (const warning of warnings) startLog.log("warn", warning);

  const log = createNodeLog(config.log.level, config.log.pretty && process.stdout.isTTY);
  stopDuringStart(log, signals);
  exitOnDefects(log);
  silenceLibraries(log);
  const result = await createNodeService(config, log, proxies);
  if (result.kind === "problem") {
    reportProblems(log, [result.problem]);
    return exit(log, EXIT_CONFIG);
  }
  const { service } = result;
  const server = await listen(log, config, config.listen, service.app.fetch, service);
  const { adminFetch } = service;
  const admin =
    adminFetch && config.admin && (await listen(log, config, config.admin, adminFetch, service));
  stopOnSignals(log, signals, config.shutdown, service, admin ? [server, admin] : [server]);
  log.announce("listening", {
    host: config.listen.host,
    port: server.port,
    adminPort: admin?.port,
    state: config.state.kind,
  });
}

/** Starts one listener. Where its port cannot be used, logs that and ends the process. */
async function listen(
  log: NodeLog,
  { insecure, connections }: Config,
  { host, port }: Config["listen"],
  fetch: App["fetch"],
  { gate, metrics }: NodeService,
): Promise<NodeServer> {
  try {
    const commonHeaders = createCommonHeaders(insecure);
    return await startNodeServer(fetch, gate, {
      host,
      port,
      commonHeaders,
      connections,
      log,
      metrics,
    });
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : "unknown";
    log.log("fatal", "cannot listen: host or port cannot be used", { host, port, code });
    return exit(log, 1);
  }
}

/** Ends the process after a defect outside a request, because its state is unknown then. */
function exitOnDefects(log: NodeLog): void {
  const fail = (error: unknown) => {
    log.log("fatal", "defect", describeDefect(error));
    void exit(log, 1);
  };
  process.on("uncaughtException", fail);
  process.on("unhandledRejection", fail);
}

/**
 * Replaces warnings of Node and console output of libraries by log lines. Plain text would break
 * the JSON lines, and a library may quote secrets.
 */
function silenceLibraries(log: NodeLog): void {
  process.removeAllListeners("warning");
  process.on("warning", ({ name }) => log.log("warn", "runtime warning", { name }));
  for (const method of ["debug", "error", "info", "log", "warn"] as const) {
    console[method] = () => log.log("warn", "a library wrote to the console", { method });
  }
}

/** Makes a signal end the process at once: until the service listens there is nothing to drain. */
function stopDuringStart(log: NodeLog, signals: StopSignals): void {
  signals.handle((signal) => {
    log.log("info", "stopped during the start", { signal });
    void exit(log, 0);
  });
}

/**
 * Makes the first signal drain the service and end the process, and a second one end it at once.
 * After SHUTDOWN_GRACE the process ends with requests unanswered.
 */
function stopOnSignals(
  log: NodeLog,
  signals: StopSignals,
  { delayMs, graceMs }: Config["shutdown"],
  { gate, close }: NodeService,
  servers: readonly NodeServer[],
): void {
  const stop = async (signal: string) => {
    log.log("info", "stopping", { signal, inFlight: gate.inFlight });
    if (delayMs > 0) {
      // Load balancers send requests until they see `/readyz` fail. Those are still served.
      gate.announceStop();
      await pause(delayMs);
      log.log("info", "draining", { inFlight: gate.inFlight });
    }
    setTimeout(() => {
      log.log("error", "stopped with requests unanswered: SHUTDOWN_GRACE is over", {
        cut: gate.inFlight,
      });
      void exit(log, 1);
    }, graceMs).unref();
    // The listeners stay open while requests are answered: new requests get 503.
    const drained = gate.drain();
    for (const server of servers) server.stopKeepingAlive();
    await drained;
    await Promise.all(servers.map((server) => server.close()));
    await close();
    log.log("info", "stopped");
    await exit(log, 0);
  };
  let stoppingSinceMs: number | undefined;
  signals.handle((signal) => {
    if (stoppingSinceMs === undefined) {
      stoppingSinceMs = performance.now();
      void stop(signal);
      return;
    }
    if (performance.now() - stoppingSinceMs < SAME_SIGNAL_MS) return;
    log.log("error", "stopped at once by a second signal: open requests are cut off", {
      cut: gate.inFlight,
    });
    void exit(log, 1);
  });
}
