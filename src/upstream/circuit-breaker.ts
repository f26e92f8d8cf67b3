/**
 * Circuit breaker: opens when calls keep failing and lets single probes through until one succeeds.
 * It sends nothing itself and has no timers.
 */
import type { Clock } from "../clock.ts";
import type { CircuitState } from "../metrics.ts";

/** Permission for one call; pass it to `record` with the outcome of the call. */
export interface CircuitPass {
  readonly kind: "closed" | "probe";
}

export interface CircuitBreaker {
  /** How long calls are refused from now on, in milliseconds; 0 if a call may be made. */
  waitMs(): number;
  /**
   * Begins a call; only if `waitMs` is 0. Every pass must be recorded once. A pass that is never
   * recorded only delays the next probe.
   */
  enter(): CircuitPass;
  /** Records whether the call of a pass failed. */
  record(pass: CircuitPass, failed: boolean): void;
  /** `open` while calls are refused, `half_open` while a probe is due or under way. */
  readonly state: CircuitState;
}

export interface CircuitOptions {
  /** Opens after this number of consecutive failures; 1 or more. */
  readonly failuresInRow: number;
  /** Also opens if half of at least this number of calls in the window failed; 1 or more. */
  readonly callsMin: number;
  /** Length of the window, in seconds; its oldest second counts only in part. */
  readonly windowSeconds: number;
  /** How long an open circuit refuses all calls, and the time between probes, in milliseconds. */
  readonly openMs: number;
}

const STANDARD: CircuitOptions = {
  failuresInRow: 10,
  callsMin: 20,
  windowSeconds: 10,
  openMs: 5_000,
};

/**
 * Creates a closed circuit breaker.
 *
 * @param onChange called with each new state
 */
export function createCircuitBreaker(
  clock: Clock,
  onChange: (state: CircuitState) => void = () => undefined,
  options = STANDARD,
): CircuitBreaker {
  const { failuresInRow, callsMin, windowSeconds, openMs } = options;
  /** The pass of all calls while the circuit is closed; a new one each time that it closes. */
  let closed: CircuitPass | undefined = { kind: "closed" };
  let inRow = 0;
  let seconds = createSeconds(windowSeconds);
  /** Probes of this outage: the outcome of an earlier outage's probe is out of date. */
  let probes = new WeakSet<CircuitPass>();
  let probing = false;
  let nextProbeMs = 0;

  const open = (nowMs: number) => {
    closed = undefined;
    probing = false;
    nextProbeMs = nowMs + openMs;
    onChange("open");
  };
  const close = () => {
    closed = { kind: "closed" };
    probing = false;
    inRow = 0;
    seconds = createSeconds(windowSeconds);
    probes = new WeakSet();
    onChange("closed");
  };

  return {
    waitMs: () => (closed === undefined ? Math.max(nextProbeMs - clock.monotonicMs(), 0) : 0),
    enter() {
      if (closed !== undefined) return closed;
      const nowMs = clock.monotonicMs();
      // The next probe does not wait for the outcome of this one: an answer may take a minute, and
      // a healthy upstream must not be unused for that long.
      nextProbeMs = nowMs + openMs;
      if (!probing) onChange("half_open");
      probing = true;
      const probe: CircuitPass = { kind: "probe" };
      probes.add(probe);
      return probe;
    },
    record(pass, failed) {
      const nowMs = clock.monotonicMs();
      if (probes.delete(pass)) {
        if (failed) open(nowMs);
        else close();
        return;
      }
      // The call began before the circuit last opened; its outcome is out of date.
      if (pass !== closed) return;
      inRow = failed ? inRow + 1 : 0;
      seconds.count(nowMs, failed);
      if (failed && (inRow >= failuresInRow || seconds.isHalfFailed(nowMs, callsMin))) open(nowMs);
    },
    get state() {
      if (closed !== undefined) return "closed";
      // After its time an open circuit refuses no call, even if none has come since.
      return probing || clock.monotonicMs() >= nextProbeMs ? "half_open" : "open";
    },
  };
}

interface Second {
  /** The second of the clock that this counts. */
  at: number;
  calls: number;
  failed: number;
}

/** Counts the calls of the last seconds, with one counter per second: constant memory and time. */
function createSeconds(count: number) {
  const ring: Second[] = Array.from({ length: count }, () => ({ at: -1, calls: 0, failed: 0 }));
  return {
    count(nowMs: number, failed: boolean): void {
      const at = Math.floor(nowMs / 1_000);
      const slot = at % count;
      const known = ring[slot];
      const second = known?.at === at ? known : { at, calls: 0, failed: 0 };
      second.calls += 1;
      if (failed) second.failed += 1;
      ring[slot] = second;
    },
    isHalfFailed(nowMs: number, callsMin: number): boolean {
      const oldest = Math.floor(nowMs / 1_000) - count + 1;
      let calls = 0;
      let failures = 0;
      for (const second of ring) {
        if (second.at < oldest) continue;
        calls += second.calls;
        failures += second.failed;
      }
      return calls >= callsMin && failures * 2 >= calls;
    },
  };
}
