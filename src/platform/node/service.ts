/** Creates the service on Node from a `Config`, and closes its connections at the end. */
import { randomUUID } from "node:crypto";
import { setTimeout } from "node:timers/promises";

import type { AdmissionState } from "../../admission/admission.ts";
import { createMemoryState } from "../../admission/memory-state.ts";
import { createRedisState } from "../../admission/redis-state.ts";
import { compileStateSettings } from "../../admission/state-settings.ts";
import { type App, createApp } from "../../app.ts";
import type { Config, ConfigProblem } from "../../config/config.ts";
import { createCommonHeaders } from "../../http/common-headers.ts";
import { createLoadGate, type LoadGate } from "../../load-gate.ts";
import type { Logger } from "../../logger.ts";
import { type Metrics, noMetrics } from "../../metrics.ts";
import type { RequestSource, Services } from "../../services.ts";
import { traceTransport } from "../../tracing.ts";
import { createCircuits } from "../../upstream/circuits.ts";
import { createHashing, systemClock } from "../system.ts";
import { createWaits } from "../../waits.ts";
import { createConfiguredKeys } from "../configured-keys.ts";
import { createAdminFetch } from "./admin.ts";
import { readElementScript } from "./element-script.ts";
import { createNodeFetch, type NodeFetch, type ProxySettings } from "./egress.ts";
import type { NodeTracing } from "./opentelemetry.ts";
import type { PrometheusMetrics } from "./prometheus.ts";
import { createNodeRedis, timeRedis } from "./redis.ts";
import { nodeRequestSource } from "./request-source.ts";
import { createNodeUpstream } from "./upstream.ts";

export interface NodeService {
  readonly app: App;
  readonly gate: LoadGate;
  readonly metrics: Metrics;
  /** Handler of the second listener; undefined where `ADMIN_PORT` is not set. */
  readonly adminFetch: App["fetch"] | undefined;
  /** Closes the connections to Redis, UponAI and the issuer. Call it after the gate is drained. */
  readonly close: () => Promise<void>;
}

export type NodeServiceResult =
  | { readonly kind: "service"; readonly service: NodeService }
  | { readonly kind: "problem"; readonly problem: ConfigProblem };

/**
 * Longest wait of the start for Redis, in milliseconds. Without the wait the first requests would
 * get 503.
 */
const STATE_WAIT_MS = 1_000;

/**
 * Creates the service, which does not listen yet.
 *
 * @param source reads the parts of a request that depend on where it comes from
 * @returns a problem where the session key or the packages for tracing cannot be used
 */
export async function createNodeService(
  config: Config,
  log: Logger,
  proxies: ProxySettings,
  source: RequestSource = nodeRequestSource,
): Promise<NodeServiceResult> {
  const egress = { connectTimeoutMs: config.upstream.connectTimeoutMs, proxies };
  let keyFetch: NodeFetch | undefined;
  const configured = await createConfiguredKeys(config.session, {
    openFetch: (url) => {
      keyFetch = createNodeFetch(url, egress);
      return keyFetch.fetch;
    },
    clock: systemClock,
    log,
  });
  if (configured.kind === "problem") return configured;
  const { keys } = configured;
  // Fetches the keys before the first session needs them. `/readyz` shows whether that worked.
  void keys.isUsable();
  const gate = createLoadGate(config.inFlightMax);
  const prometheus = config.admin === undefined ? undefined : await loadPrometheus(gate);
  const metrics = prometheus ?? noMetrics;
  const tracing = await loadTracing(config.traces);
  if (tracing === "not installed") return { kind: "problem", problem: NO_TRACING };
  const upstream = createNodeUpstream({ ...config.upstream, proxies });
  const { state, close: closeState } = await createState(config, log, prometheus);
  const circuits = createCircuits(systemClock, log);
  metrics.watchCircuits(circuits);
  const services: Services = {
    clock: systemClock,
    hashing: createHashing(config),
    pause: (ms) => setTimeout(ms),
    createId: randomUUID,
    log,
    metrics,
    circuits,
    state,
    tracing,
    transport:
      tracing === undefined ? upstream.transport : traceTransport(upstream.transport, tracing),
    keys,
    gate,
    // A message goes on by itself, and the gate counts it while the process drains.
    waits: createWaits({ clock: systemClock, gate, joins: true, keep: () => undefined }),
    source,
    elementScript: await readElementScript(),
  };
  const app = createApp(config, services);
  const adminFetch =
    prometheus &&
    createAdminFetch({
      ...services,
      app,
      routePrefix: config.routePrefix,
      commonHeaders: createCommonHeaders(config.insecure),
      allowedOrigins: new Set(),
      render: () => prometheus.render(),
      contentType: prometheus.contentType,
    });
  const close = async () => {
    closeState();
    await Promise.all([upstream.close(), keyFetch?.close()]);
    await tracing?.close();
  };
  return { kind: "service", service: { app, gate, metrics, adminFetch, close } };
}

/** Loads the metrics library, which takes memory only where metrics are served. */
async function loadPrometheus(gate: LoadGate): Promise<PrometheusMetrics> {
  const { createPrometheusMetrics } = await import("./prometheus.ts");
  return createPrometheusMetrics(gate);
}

const NO_TRACING: ConfigProblem = {
  variable: "OTEL_EXPORTER_OTLP_ENDPOINT",
  problem: "needs packages that are not installed",
  example:
    "npm install @opentelemetry/api @opentelemetry/sdk-trace @opentelemetry/resources @opentelemetry/exporter-trace-otlp-http, or leave it unset",
};

async function loadTracing(
  traces: Config["traces"],
): Promise<NodeTracing | undefined | "not installed"> {
  if (traces === undefined) return undefined;
  try {
    const { createOpenTelemetry } = await import("./opentelemetry.ts");
    return createOpenTelemetry(traces);
  } catch (error) {
    const missing =
      error instanceof Error && "code" in error && error.code === "ERR_MODULE_NOT_FOUND";
    if (missing) return "not installed";
    throw error;
  }
}

async function createState(
  config: Config,
  log: Logger,
  metrics: Metrics | undefined,
): Promise<{ state: AdmissionState; close: () => void }> {
  const settings = compileStateSettings(config);
  if (config.state.kind !== "redis") {
    return { state: createMemoryState(systemClock, settings), close: () => undefined };
  }
  const { address, prefix, timeoutMs } = config.state;
  const connection = createNodeRedis(address, timeoutMs, log);
  // When Redis is down the service starts nevertheless, and `/readyz` reports it.
  await connection.connected(STATE_WAIT_MS);
  const timed = metrics === undefined ? connection : timeRedis(connection, systemClock, metrics);
  return {
    state: createRedisState({
      connection: timed,
      prefix,
      timeoutMs,
      settings,
      clock: systemClock,
    }),
    close: connection.close,
  };
}
