/**
 * Metrics in Prometheus's text format. Loaded only where `ADMIN_PORT` is set: without it the
 * library takes no memory and nothing is counted.
 */
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from "prom-client";

import type { LoadGate } from "../../load-gate.ts";
import {
  type CircuitState,
  cutReasons,
  type Metrics,
  type RecoveryResult,
  type RequestFacts,
  waitResults,
} from "../../metrics.ts";
import type { ProblemCode } from "../../problem.ts";

export interface PrometheusMetrics extends Metrics {
  /** The answer to a scrape, as text of type `contentType`. */
  render(): Promise<string>;
  readonly contentType: string;
}

/** In seconds, from an answer out of memory to the longest wait for UponAI. */
const REQUEST_BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60];
/**
 * In seconds. Redis usually answers in less than a millisecond; `REDIS_TIMEOUT` is half a second.
 */
const STATE_BUCKETS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1];

/**
 * Codes of requests without a valid session, with the label of each. An address that sends many
 * wrong sessions is refused by a limit: then `bff_limited_total` counts it.
 */
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

/**
 * Creates the metrics of one process. `gate` is read at each scrape for the requests in progress.
 */
export function createPrometheusMetrics(gate: LoadGate): PrometheusMetrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });

  const requests = new Counter({
    name: "bff_requests_total",
    help: "Requests answered, by route pattern, HTTP status and problem code (empty for a success).",
    labelNames: ["route", "status", "code"],
    registers,
  });
  const requestSeconds = new Histogram({
    name: "bff_request_duration_seconds",
    help: "Seconds from the arrival of a request to its answer.",
    labelNames: ["route"],
    buckets: REQUEST_BUCKETS,
    registers,
  });
  const upstreamSeconds = new Histogram({
    name: "bff_upstream_duration_seconds",
    help: "Seconds that UponAI took for a call, retries included.",
    buckets: REQUEST_BUCKETS,
    registers,
  });
  const stateSeconds = new Histogram({
    name: "bff_state_duration_seconds",
    help: "Seconds of one round trip to Redis, by script.",
    labelNames: ["operation"],
    buckets: STATE_BUCKETS,
    registers,
  });
  const limited = new Counter({
    name: "bff_limited_total",
    help: "Requests refused by a limit, by limit policy.",
    labelNames: ["policy"],
    registers,
  });
  const authFailures = new Counter({
    name: "bff_auth_failures_total",
    help: "Requests refused because they have no valid session, by reason.",
    labelNames: ["reason"],
    registers,
  });
  for (const reason of Object.values(AUTH_FAILURES)) authFailures.inc({ reason }, 0);
  const recoveries = new Counter({
    name: "bff_recoveries_total",
    help: "Lost answers that were searched for in the transcript, by result.",
    labelNames: ["result"],
    registers,
  });
  for (const result of RECOVERY_RESULTS) recoveries.inc({ result }, 0);
  const replays = new Counter({
    name: "bff_replays_total",
    help: "Stored answers sent again to a repeated request.",
    registers,
  });
  const waits = new Counter({
    name: "bff_waits_total",
    help: "Bounded waits for a running message, by what ended them: its answer, or the time.",
    labelNames: ["end"],
    registers,
  });
  for (const end of waitResults) waits.inc({ end }, 0);
  const cutConnections = new Counter({
    name: "bff_connections_cut_total",
    help: "Connections closed without an answer, by the limit that was exceeded.",
    labelNames: ["reason"],
    registers,
  });
  for (const reason of cutReasons) cutConnections.inc({ reason }, 0);
  let watched: { readonly state: CircuitState } = { state: "closed" };
  // Read at each scrape, because an open circuit becomes half open when its time is over.
  const circuit: Gauge = new Gauge({
    name: "bff_circuit_state",
    help: "State of the worst circuit to UponAI: 0 closed, 1 half open, 2 open.",
    registers,
    collect: () => circuit.set(CIRCUIT_VALUES[watched.state]),
  });
  const inFlight: Gauge = new Gauge({
    name: "bff_in_flight",
    help: "Requests in progress.",
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
      if (facts.wait !== undefined) waits.inc({ end: facts.wait });
      if (code === undefined) return;
      const reason = AUTH_FAILURES[code];
      if (reason !== undefined) authFailures.inc({ reason });
      for (const policy of facts.violatedPolicies ?? []) limited.inc({ policy });
    },
    countLateCall: (ms) => upstreamSeconds.observe(ms / 1_000),
    countStateTrip: (operation, ms) => stateSeconds.observe({ operation }, ms / 1_000),
    countCutConnection: (reason) => cutConnections.inc({ reason }),
    watchCircuits(circuits) {
      watched = circuits;
    },
    render: () => registry.metrics(),
    contentType: registry.contentType,
  };
}
