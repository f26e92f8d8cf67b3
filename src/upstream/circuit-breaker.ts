/**
 * Circuit breaker: opens when calls keep failing and lets single probes through until one succeeds.
 * It sends nothing itself and has no timers.
 */
import type { Clock } from "../clock.ts";
import type { CircuitState } from "../metrics.ts";

/** Leave to call, to be handed to `record` with what came of the call. */
export interface CircuitPass {
  readonly kind: "closed" | "probe";
}

export interface CircuitBreaker {
  /** How long calls are refused from now on, in milliseconds; 0 when one may be made. */
  waitMs(): number;
  /**
   * Begins a call; only where `waitMs` is 0. Every pass must be recorded once. One that never is
   * only costs the time to the next probe.
   */
  enter(): CircuitPass;
  record(pass: CircuitPass, failed: boolean): void;
  /** `open` while calls are refused, `half_open` while a probe is due or under way. */
  readonly state: CircuitState;
}

export interface CircuitOptions {
  /** Opens after so many failures without a success between them; 1 or more. */
  readonly failuresInRow: number;
  /** Opens, too, when half of at least so many calls of late have failed; 1 or more. */
  readonly callsMin: number;
  /** How late "of late" is, in seconds; the oldest of them counts only in part. */
  readonly windowSeconds: number;
  /** How long nothing goes upstream, and then how long until another probe, in milliseconds. */
  readonly openMs: number;
}

const STANDARD: CircuitOptions = {
  failuresInRow: 10,
  callsMin: 20,
  windowSeconds: 10,
  openMs: 5_000,
};

/** @param onChange told each new state */
export function createCircuitBreaker(
  clock: Clock,
  onChange: (state: CircuitState) => void = () => undefined,
  options = STANDARD,
): CircuitBreaker {
  const { failuresInRow, callsMin, windowSeconds, openMs } = options;
  /** The pass of everyone while the circuit is closed; a new one each time that it closes. */
  let closed: CircuitPass | undefined = { kind: "closed" };
  let inRow = 0;
  let seconds = createSeconds(windowSeconds);
  /** Those of this outage: what an earlier one's says is out of date. */
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
      // Not only when the last one has come back: an answer may take a minute, and a healthy
      // upstream must not be left alone for that long.
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
      // Begun before the circuit last opened: it has been judged by then.
      if (pass !== closed) return;
      inRow = failed ? inRow + 1 : 0;
      seconds.count(nowMs, failed);
      if (failed && (inRow >= failuresInRow || seconds.isHalfFailed(nowMs, callsMin))) open(nowMs);
    },
    get state() {
      if (closed !== undefined) return "closed";
      // Past its time an open circuit refuses nothing, although no call may have come since.
      return probing || clock.monotonicMs() >= nextProbeMs ? "half_open" : "open";
    },
  };
}

interface Second {
  /** Which second of the clock this is of. */
  at: number;
  calls: number;
  failed: number;
}

/** The calls of the last seconds, in as many counters: memory and time are the same at any rate. */
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
