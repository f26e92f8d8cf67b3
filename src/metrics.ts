/**
 * Owns the shape of what is counted and timed. Every label comes from a closed set of this program
 * (a route's pattern, a problem's code, a limit's name): nothing that a client sends becomes one.
 */
import type { ProblemCode } from "./problem.ts";

/** What is known of a request once it is answered. */
export interface RequestFacts {
  /** The route's pattern. */
  readonly route: string;
  readonly status: number;
  /** Undefined for whatever is no refusal. */
  readonly code?: ProblemCode | undefined;
  /** Time from its arrival to its answer, in milliseconds; undefined where nobody knows. */
  readonly ms?: number | undefined;
  /** Time that UponAI took, with retries, in milliseconds; undefined when it was not asked. */
  readonly upstreamMs?: number | undefined;
  /** The limits that refused it. */
  readonly violatedPolicies?: readonly string[] | undefined;
  /** What looking into the transcript for a lost answer came to; undefined where nobody looked. */
  readonly recovery?: RecoveryResult | undefined;
  /** Whether a stored answer was given again. */
  readonly replayed?: boolean | undefined;
}

/** Why the listener ended a connection without an answer; see docs/operations.md. */
export const cutReasons = [
  "accept_failed",
  "connections",
  "connections_per_address",
  "pipelined_requests",
  "unread_answers",
] as const;
export type CutReason = (typeof cutReasons)[number];

export type RecoveryResult = "recovered" | "unknown";

/** Whether UponAI is called, spared, or tried with a single call. */
export type CircuitState = "closed" | "half_open" | "open";

export interface Metrics {
  countRequest(facts: RequestFacts): void;
  /**
   * One round trip to the state.
   *
   * @param operation the name of its script
   * @param ms until it answered or failed, in milliseconds
   */
  countStateTrip(operation: string, ms: number): void;
  countCutConnection(reason: CutReason): void;
  /** Names where the worst state of all circuits is read; until then it is closed. */
  watchCircuits(circuits: { readonly state: CircuitState }): void;
}

/** For a service that nobody asks for metrics. */
export const noMetrics: Metrics = {
  countRequest: () => undefined,
  countStateTrip: () => undefined,
  countCutConnection: () => undefined,
  watchCircuits: () => undefined,
};
