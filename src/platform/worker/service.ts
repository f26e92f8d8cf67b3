/** Owns putting the parts together on Workers: from bindings to an application, once per isolate. */
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
import { variables } from "../../config/variables.ts";
import type { Logger } from "../../logger.ts";
import {
  createPublicKeySource,
  createSecretKeySource,
  type KeySource,
} from "../../session/key-source.ts";
import { createRemoteKeySource } from "../../session/remote-keys.ts";
import { noMetrics } from "../../metrics.ts";
import { systemClock } from "../clock.ts";
import { createCircuits } from "../../upstream/circuits.ts";
import { createHashing } from "../hashing.ts";
import { createWorkerGate } from "./load-gate.ts";
import { createWorkerLog } from "./log.ts";
import { createObjectState, type StateObjects } from "./object-state.ts";
import { workerRequestSource } from "./request-source.ts";
import { currentScope } from "./request-scope.ts";
import { createWorkerUpstream } from "./upstream.ts";

/** What wrangler.toml and the secrets bind. */
export interface WorkerBindings {
  readonly STATE_OBJECT?: StateObjects;
}

/** A request is past this only when the platform ended it: what it may take besides the upstream. */
const REQUEST_SLACK_MS = 60_000;

/** Makes the application; undefined when it cannot be, which the log then tells. */
export async function createWorkerService(bindings: WorkerBindings): Promise<App | undefined> {
  const result = parseConfig(readEnvironment(bindings), "durable-object");
  const log = createWorkerLog(result.kind === "config" ? result.config.log.level : "info");
  if (result.kind === "problems") return reportProblems(log, result.problems);
  const { config, warnings } = result;
  for (const warning of warnings) log.log("warn", warning);

  const keys = await createKeySource(config, log);
  if (keys === undefined) {
    const { example } = variables.SESSION_PUBLIC_KEY;
    const problem = "must be a public key that can be read; a private or symmetric one is refused";
    return reportProblems(log, [{ variable: "SESSION_PUBLIC_KEY", problem, example }]);
  }
  const state = await createState(config, bindings, log);
  if (state === undefined) {
    const problem = "is not bound: wrangler.toml names the class of the state";
    return reportProblems(log, [
      { variable: "STATE_OBJECT", problem, example: "see wrangler.toml" },
    ]);
  }
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
    gate: createWorkerGate(
      config.inFlightMax,
      config.upstream.timeoutMs + REQUEST_SLACK_MS,
      systemClock,
    ),
    source: workerRequestSource,
  });
}

/** Variables and secrets are texts; other bindings are not for the configuration. */
function readEnvironment(bindings: WorkerBindings): Environment {
  return Object.fromEntries(
    Object.entries(bindings).flatMap(([name, value]: [string, unknown]): [string, string][] =>
      typeof value === "string" ? [[name, value]] : [],
    ),
  );
}

function reportProblems(log: Logger, problems: readonly ConfigProblem[]): undefined {
  for (const { variable, problem, example } of problems) {
    log.log("fatal", `${variable} ${problem}. Example: ${example}`, { variable });
  }
}

async function createKeySource(config: Config, log: Logger): Promise<KeySource | undefined> {
  const { key } = config.session;
  switch (key.kind) {
    case "secret":
      return createSecretKeySource(key.secret);
    case "public":
      return createPublicKeySource(key.publicKey);
    case "jwks":
      return createRemoteKeySource({
        url: key.url,
        fetch: (input, init) => fetch(input, init),
        clock: systemClock,
        log,
        // A fetch belongs to the request that began it: others wait for what it learns.
        background: (work) => currentScope().waitUntil(work),
      });
  }
}

async function createState(
  config: Config,
  { STATE_OBJECT: objects }: WorkerBindings,
  log: Logger,
): Promise<AdmissionState | undefined> {
  const { state } = config;
  const settings = compileStateSettings(config);
  if (state.kind === "redis" && state.address.kind === "single") {
    // A third of the program's start is the Redis client, which only those pay who use it.
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
