/**
 * The metrics interface. All labels come from closed sets of this program (route patterns, problem
 * codes, names of limits). Nothing that a client sends becomes a label, so that a client cannot
 * create time series.
 */
import type { ProblemCode } from "./problem.ts";

/** The measurements of one answered request. */
export interface RequestFacts {
  /** The pattern of the route. */
  readonly route: string;
  readonly status: number;
  /** Code of the problem; undefined for a success. */
  readonly code?: ProblemCode | undefined;
  /** Time from arrival to answer, in milliseconds; undefined if it was not measured. */
  readonly ms?: number | undefined;
  /** Time that UponAI took, retries included, in milliseconds; undefined if it was not called. */
  readonly upstreamMs?: number | undefined;
  /** Names of the limits that refused the request. */
  readonly violatedPolicies?: readonly string[] | undefined;
  /** Result of the recovery of a lost answer; undefined if no answer was lost. */
  readonly recovery?: RecoveryResult | undefined;
  /** True if a stored answer was given again. */
  readonly replayed?: boolean | undefined;
  /** What ended the bounded wait of the request; undefined if it did not wait. */
  readonly wait?: WaitResult | undefined;
}

/** Reasons why the listener closes a connection without an answer; see docs/operations.md. */
export const cutReasons = [
  "accept_failed",
  "connections",
  "connections_per_address",
  "pipelined_requests",
  "unread_answers",
] as const;
export type CutReason = (typeof cutReasons)[number];

/**
 * Result of a recovery: the answer was found in the transcript, or its outcome is still unknown.
 */
export type RecoveryResult = "recovered" | "unknown";

/** What ended a bounded wait: the answer to the message, or its time (then the answer is 202). */
export const waitResults = ["answer", "time"] as const;
export type WaitResult = (typeof waitResults)[number];

/** State of a circuit breaker: calls pass, one probe call passes, or calls are refused. */
export type CircuitState = "closed" | "half_open" | "open";

/** Records the measurements. */
export interface Metrics {
  /** Counts one answered request. */
  countRequest(facts: RequestFacts): void;
  /**
   * Records a call to UponAI that ended after its request was answered.
   *
   * @param ms time that UponAI took, retries included, in milliseconds
   */
  countLateCall(ms: number): void;
  /**
   * Records one round trip to the state.
   *
   * @param operation name of the script that ran
   * @param ms time until the answer or the failure, in milliseconds
   */
  countStateTrip(operation: string, ms: number): void;
  /** Counts one connection that was closed without an answer. */
  countCutConnection(reason: CutReason): void;
  /** Sets the source of the worst state of all circuits. Before this call the state is `closed`. */
  watchCircuits(circuits: { readonly state: CircuitState }): void;
}

/** Metrics that record nothing, for a service without `ADMIN_PORT` and for Workers. */
export const noMetrics: Metrics = {
  countRequest: () => undefined,
  countLateCall: () => undefined,
  countStateTrip: () => undefined,
  countCutConnection: () => undefined,
  watchCircuits: () => undefined,
};
