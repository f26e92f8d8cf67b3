/**
 * Circuit breakers in front of UponAI: one per account, and two rules across accounts.
 *
 * Answers to one account's calls must not refuse another account's calls: otherwise a user whose
 * messages make UponAI answer 500 could stop every other workspace. Two things are shared:
 *
 * - The connection circuit. It counts only whether UponAI could be reached, which no user's message
 *   decides. It opens by the same numbers as an account's circuit and refuses every call.
 * - The joint outage: calls of at least `JOINT_WORKSPACES_MIN` workspaces whose circuits are not
 *   closed failed in the last `JOINT_WINDOW_MS`, and no call of any account was answered in it. An
 *   account with a failure of its own in that time may then make one call every `JOINT_PAUSE_MS`. The
 *   first answer to any account ends it. So an account whose own calls did not fail is never refused.
 */
import type { WorkspaceId } from "../branded.ts";
import type { ProviderAccount } from "../chat/chat-provider.ts";
import type { Clock } from "../clock.ts";
import type { Logger } from "../logger.ts";
import type { CircuitState } from "../metrics.ts";
import { type CircuitBreaker, type CircuitPass, createCircuitBreaker } from "./circuit-breaker.ts";
import type { CallHealth } from "./classify-reply.ts";

/** Permission to make a call. */
export interface CallPass {
  /**
   * Records the outcome of the call; to be called once. A pass that is never recorded only delays
   * the next probe.
   *
   * @param counts whether a failure counts; the failure of a probe always counts. Default: true
   */
  record(health: CallHealth, counts?: boolean): void;
}

/** No call may be made now. */
export interface CallRefusal {
  /** When to try again, in whole seconds; 1 or more. */
  readonly retryAfterSeconds: number;
}

export interface Circuits {
  /** Begins a call, or refuses it. */
  enter(account: ProviderAccount): CallPass | CallRefusal;
  /** The worst state of all circuits: open before half open before closed. */
  readonly state: CircuitState;
}

export const JOINT_WORKSPACES_MIN = 3;
export const JOINT_WINDOW_MS = 10_000;
export const JOINT_PAUSE_MS = 5_000;

interface AccountCircuit {
  readonly workspaceId: WorkspaceId;
  readonly breaker: CircuitBreaker;
  failedMs: number;
  /** When the next call may be made in a joint outage. */
  nextJointMs: number;
}

const STATES: readonly CircuitState[] = ["open", "half_open", "closed"];

/**
 * Creates the circuits of one UponAI origin. Accounts come from the configuration, which bounds the
 * number of circuits.
 */
export function createCircuits(clock: Clock, log: Logger): Circuits {
  const connection = createCircuitBreaker(
    clock,
    createReporter(
      () => log.log("error", "UponAI cannot be reached: all calls to it are refused for now"),
      () => log.log("info", "UponAI can be reached again"),
    ),
  );
  const byKey = new Map<string, AccountCircuit>();
  const byAccount = new WeakMap<ProviderAccount, AccountCircuit>();
  /** The accounts whose circuit is not closed. */
  const failing = new Set<AccountCircuit>();
  let answeredMs = -Infinity;

  const createAccountCircuit = (workspaceId: WorkspaceId): AccountCircuit => {
    const fields = { workspace: workspaceId };
    const report = createReporter(
      () =>
        log.log(
          "error",
          "UponAI keeps failing: calls of this workspace are refused for now",
          fields,
        ),
      () => log.log("info", "UponAI answers this workspace again", fields),
    );
    const circuit: AccountCircuit = {
      workspaceId,
      breaker: createCircuitBreaker(clock, (state) => {
        if (state === "closed") failing.delete(circuit);
        else failing.add(circuit);
        report(state);
      }),
      failedMs: -Infinity,
      nextJointMs: -Infinity,
    };
    return circuit;
  };

  const circuitOf = (account: ProviderAccount): AccountCircuit => {
    const known = byAccount.get(account);
    if (known !== undefined) return known;
    // Several entries of the configuration may name one workspace with the same tokens.
    const key = JSON.stringify([account.id, ...account.apiTokens]);
    const circuit = byKey.get(key) ?? createAccountCircuit(account.id);
    byKey.set(key, circuit);
    byAccount.set(account, circuit);
    return circuit;
  };

  const isJointOutage = (nowMs: number): boolean => {
    if (failing.size < JOINT_WORKSPACES_MIN || nowMs - answeredMs < JOINT_WINDOW_MS) return false;
    const workspaces = new Set<WorkspaceId>();
    for (const { workspaceId, failedMs } of failing) {
      if (nowMs - failedMs < JOINT_WINDOW_MS) workspaces.add(workspaceId);
      if (workspaces.size >= JOINT_WORKSPACES_MIN) return true;
    }
    return false;
  };

  return {
    enter(account) {
      const circuit = circuitOf(account);
      const { breaker } = circuit;
      const nowMs = clock.monotonicMs();
      // An account whose own calls did not fail is not refused: anyone with three failing workspaces
      // could slow down every other tenant.
      const hasFailed = nowMs - circuit.failedMs < JOINT_WINDOW_MS;
      const joint = hasFailed && isJointOutage(nowMs);
      // All circuits are asked before any is entered: a probe that another circuit refuses would be
      // lost.
      const waitMs = Math.max(
        breaker.waitMs(),
        connection.waitMs(),
        joint ? circuit.nextJointMs - nowMs : 0,
      );
      if (waitMs > 0) return { retryAfterSeconds: Math.ceil(waitMs / 1_000) };
      if (joint) circuit.nextJointMs = nowMs + JOINT_PAUSE_MS;
      const own = breaker.enter();
      const shared = connection.enter();
      return {
        record(health, counts = true) {
          if (health === "answered") answeredMs = clock.monotonicMs();
          else if (counts) circuit.failedMs = clock.monotonicMs();
          recordIn(breaker, own, health !== "answered", counts);
          recordIn(connection, shared, health === "not_reached", counts);
        },
      };
    },
    get state() {
      const states = new Set([connection.state]);
      for (const { breaker } of failing) states.add(breaker.state);
      return STATES.find((state) => states.has(state)) ?? "closed";
    },
  };
}

function recordIn(
  breaker: CircuitBreaker,
  pass: CircuitPass,
  failed: boolean,
  counts: boolean,
): void {
  if (counts || !failed || pass.kind === "probe") breaker.record(pass, failed);
}

/** Creates a callback that reports an outage once, and not again with each probe that fails. */
function createReporter(onOutage: () => void, onEnd: () => void): (state: CircuitState) => void {
  let reported = false;
  return (state) => {
    if (state === "open" && !reported) onOutage();
    if (state === "closed") onEnd();
    if (state !== "half_open") reported = state === "open";
  };
}
