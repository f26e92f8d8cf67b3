/** Creates the application on Workers from the bindings, once per isolate. */
import elementScript from "../../../dist/element.txt";
import type { AdmissionState } from "../../admission/admission.ts";
import { createRedisState } from "../../admission/redis-state.ts";
import { compileStateSettings } from "../../admission/state-settings.ts";
import { type App, createApp } from "../../app.ts";
import {
  type Config,
  type ConfigProblem,
  type Environment,
  parseConfig,
} from "../../config/config.ts";
import type { Logger } from "../../logger.ts";
import { noMetrics } from "../../metrics.ts";
import { createHashing, systemClock } from "../system.ts";
import { createCircuits } from "../../upstream/circuits.ts";
import { createWaits } from "../../waits.ts";
import { createConfiguredKeys } from "../configured-keys.ts";
import { reportProblems } from "../report-problems.ts";
import { createWorkerGate } from "./load-gate.ts";
import { createWorkerLog } from "./log.ts";
import { createObjectState, type StateObjects } from "./object-state.ts";
import { workerRequestSource } from "./request-source.ts";
import { currentScope } from "./request-scope.ts";
import { createWorkerUpstream } from "./upstream.ts";

/** The bindings of wrangler.toml; variables and secrets are bindings too. */
export interface WorkerBindings {
  readonly STATE_OBJECT?: StateObjects;
}

/**
 * Longest time of a request besides the wait for UponAI, in milliseconds. A request that takes
 * longer was ended by Cloudflare.
 */
const REQUEST_SLACK_MS = 60_000;

/**
 * Creates the application. Logs the problems and returns undefined where the configuration has any.
 */
export async function createWorkerService(bindings: WorkerBindings): Promise<App | undefined> {
  const result = parseConfig(readEnvironment(bindings), "durable-object");
  const log = createWorkerLog(result.kind === "config" ? result.config.log.level : "info");
  if (result.kind === "problems") return rejectConfig(log, result.problems);
  const { config, warnings } = result;
  for (const warning of warnings) log.log("warn", warning);

  const configured = await createConfiguredKeys(config.session, {
    openFetch: () => (input, init) => fetch(input, init),
    clock: systemClock,
    log,
    // On Workers a fetch ends with the request that began it. `waitUntil` keeps it going, and other
    // requests use its result.
    background: (work) => currentScope().waitUntil(work),
  });
  if (configured.kind === "problem") return rejectConfig(log, [configured.problem]);
  const { keys } = configured;
  const state = await createState(config, bindings, log);
  if (state === undefined) return rejectConfig(log, [NO_STATE]);
  const gate = createWorkerGate(
    config.inFlightMax,
    config.upstream.timeoutMs + REQUEST_SLACK_MS,
    systemClock,
  );
  return createApp(config, {
    clock: systemClock,
    hashing: createHashing(config),
    pause: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
    createId: () => crypto.randomUUID(),
    log,
    metrics: noMetrics,
    circuits: createCircuits(systemClock, log),
    state,
    transport: createWorkerUpstream(config.upstream),
    keys,
    gate,
    waits: createWaits({
      clock: systemClock,
      gate,
      // A request that waits for a promise of another request can hang on Workers.
      joins: false,
      keep: (work) => currentScope().goOn(work),
    }),
    source: workerRequestSource,
    elementScript,
  });
}

/** Returns the variables and secrets, which are strings. Other bindings are not configuration. */
function readEnvironment(bindings: WorkerBindings): Environment {
  return Object.fromEntries(
    Object.entries(bindings).flatMap(([name, value]: [string, unknown]): [string, string][] =>
      typeof value === "string" ? [[name, value]] : [],
    ),
  );
}

const NO_STATE: ConfigProblem = {
  variable: "STATE_OBJECT",
  problem: "is not bound to the Durable Object class StateObject",
  example: "the durable_objects section of wrangler.toml",
};

function rejectConfig(log: Logger, problems: readonly ConfigProblem[]): undefined {
  reportProblems(log, problems);
}

async function createState(
  config: Config,
  { STATE_OBJECT: objects }: WorkerBindings,
  log: Logger,
): Promise<AdmissionState | undefined> {
  const { state } = config;
  const settings = compileStateSettings(config);
  if (state.kind === "redis" && state.address.kind === "single") {
    // The Redis client takes a third of the start time, so it is loaded only where it is used.
    const { createWorkerRedis } = await import("./redis.ts");
    const { address, prefix, timeoutMs } = state;
    const connection = createWorkerRedis(address, timeoutMs, log);
    return createRedisState({ connection, prefix, timeoutMs, settings, clock: systemClock });
  }
  if (objects === undefined || state.kind !== "durable-object") return undefined;
  return createObjectState({
    objects,
    timeoutMs: state.timeoutMs,
    settings,
    clock: systemClock,
    log,
  });
}
