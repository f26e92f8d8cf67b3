/**
 * Owns the metrics in Prometheus's form. Loaded only where `ADMIN_PORT` is set: without it nothing of
 * this is in memory and nothing is counted.
 */
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from "prom-client";

import type { LoadGate } from "../../load-gate.ts";
import {
  type CircuitState,
  cutReasons,
  type Metrics,
  type RecoveryResult,
  type RequestFacts,
} from "../../metrics.ts";
import type { ProblemCode } from "../../problem.ts";

export interface PrometheusMetrics extends Metrics {
  /** The text that a scrape is answered, and its content type. */
  render(): Promise<string>;
  readonly contentType: string;
}

/** In seconds: from an answer out of memory to the longest that UponAI is waited for. */
const REQUEST_BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60];
/** In seconds: Redis answers in well under a millisecond, and is given half a second. */
const STATE_BUCKETS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1];

/** Codes that say that no session was proven. A flood of wrong ones ends up under `bff_limited_total`. */
const AUTH_FAILURES: { readonly [Code in ProblemCode]?: string } = {
  session_missing: "missing",
  session_invalid: "invalid",
  session_expired: "expired",
  session_revoked: "revoked",
};

const RECOVERY_RESULTS: readonly RecoveryResult[] = ["recovered", "unknown"];

const CIRCUIT_VALUES: { readonly [State in CircuitState]: number } = {
  closed: 0,
  half_open: 1,
  open: 2,
};

export function createPrometheusMetrics(gate: LoadGate): PrometheusMetrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });

  const requests = new Counter({
    name: "bff_requests_total",
    help: "Requests answered, by route pattern, status and problem code (empty: no refusal).",
    labelNames: ["route", "status", "code"],
    registers,
  });
  const requestSeconds = new Histogram({
    name: "bff_request_duration_seconds",
    help: "Time from a request's arrival to its answer.",
    labelNames: ["route"],
    buckets: REQUEST_BUCKETS,
    registers,
  });
  const upstreamSeconds = new Histogram({
    name: "bff_upstream_duration_seconds",
    help: "Time that UponAI took for a call, with retries.",
    buckets: REQUEST_BUCKETS,
    registers,
  });
  const stateSeconds = new Histogram({
    name: "bff_state_duration_seconds",
    help: "Time of one round trip to Redis, by script.",
    labelNames: ["operation"],
    buckets: STATE_BUCKETS,
    registers,
  });
  const limited = new Counter({
    name: "bff_limited_total",
    help: "Requests refused by a limit, by limit.",
    labelNames: ["policy"],
    registers,
  });
  const authFailures = new Counter({
    name: "bff_auth_failures_total",
    help: "Requests without a valid session, by reason.",
    labelNames: ["reason"],
    registers,
  });
  for (const reason of Object.values(AUTH_FAILURES)) authFailures.inc({ reason }, 0);
  const recoveries = new Counter({
    name: "bff_recoveries_total",
    help: "Lost answers that were looked for in the transcript, by what came of it.",
    labelNames: ["result"],
    registers,
  });
  for (const result of RECOVERY_RESULTS) recoveries.inc({ result }, 0);
  const replays = new Counter({
    name: "bff_replays_total",
    help: "Stored answers given again.",
    registers,
  });
  const cutConnections = new Counter({
    name: "bff_connections_cut_total",
    help: "Connections that were ended without an answer, by the bound that they broke.",
    labelNames: ["reason"],
    registers,
  });
  for (const reason of cutReasons) cutConnections.inc({ reason }, 0);
  let watched: { readonly state: CircuitState } = { state: "closed" };
  // Read with each scrape: an open circuit becomes half open by time alone.
  const circuit: Gauge = new Gauge({
    name: "bff_circuit_state",
    help: "The worst of all circuits to UponAI: 0 closed, 1 half open, 2 open.",
    registers,
    collect: () => circuit.set(CIRCUIT_VALUES[watched.state]),
  });
  const inFlight: Gauge = new Gauge({
    name: "bff_in_flight",
    help: "Requests being worked on.",
    registers,
    collect: () => inFlight.set(gate.inFlight),
  });

  return {
    countRequest(facts: RequestFacts) {
      const { route, status, code, ms, upstreamMs, recovery } = facts;
      requests.inc({ route, status, code: code ?? "" });
      if (ms !== undefined) requestSeconds.observe({ route }, ms / 1_000);
      if (upstreamMs !== undefined) upstreamSeconds.observe(upstreamMs / 1_000);
      if (recovery !== undefined) recoveries.inc({ result: recovery });
      if (facts.replayed === true) replays.inc();
      if (code === undefined) return;
      const reason = AUTH_FAILURES[code];
      if (reason !== undefined) authFailures.inc({ reason });
      for (const policy of facts.violatedPolicies ?? []) limited.inc({ policy });
    },
    countStateTrip: (operation, ms) => stateSeconds.observe({ operation }, ms / 1_000),
    countCutConnection: (reason) => cutConnections.inc({ reason }),
    watchCircuits(circuits) {
      watched = circuits;
    },
    render: () => registry.metrics(),
    contentType: registry.contentType,
  };
}
