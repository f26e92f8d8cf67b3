import * as fc from "fast-check";
import { beforeEach, describe, expect, test } from "vitest";

import { type CircuitBreaker, type CircuitPass, createCircuitBreaker } from "./circuit-breaker.ts";

let nowMs: number;
let circuit: CircuitBreaker;

beforeEach(() => {
  nowMs = 0;
  circuit = createCircuitBreaker({ epochMs: () => 0, monotonicMs: () => nowMs });
});

/** A pass, where there must be one. */
function pass(kind: CircuitPass["kind"] = "closed"): CircuitPass {
  const decision = enter();
  if (decision.kind === "open") throw new Error("the circuit is open");
  expect(decision.kind).toBe(kind);
  return decision;
}

/** A pass where one is given, as a caller asks for it. */
function enter(): CircuitPass | { readonly kind: "open"; readonly waitMs: number } {
  const waitMs = circuit.waitMs();
  return waitMs > 0 ? { kind: "open", waitMs } : circuit.enter();
}

function call(failed: boolean, times = 1): void {
  for (let count = 0; count < times; count += 1) circuit.record(pass(), failed);
}

/** Opens it and lets the time pass until a probe is due. */
function openUntilProbe(): void {
  call(true, 10);
  nowMs += 5_000;
}

describe("opening", () => {
  test("ten failures in a row open it, nine do not", () => {
    call(true, 9);
    expect(enter().kind).toBe("closed");
    call(true);
    expect(enter().kind).toBe("open");
    expect(circuit.state).toBe("open");
  });

  test("a success between them begins the row anew", () => {
    call(true, 9);
    call(false);
    call(true, 9);
    expect(circuit.state).toBe("closed");
    call(true);
    expect(circuit.state).toBe("open");
  });

  test("a row has no end in time: an upstream that is asked once an hour can be out as well", () => {
    for (let count = 0; count < 10; count += 1) {
      call(true);
      nowMs += 3_600_000;
    }
    nowMs -= 3_600_000;
    expect(enter().kind).toBe("open");
  });

  test("half of twenty calls failed, never ten in a row, opens it", () => {
    for (let count = 0; count < 9; count += 1) {
      call(false);
      call(true);
    }
    call(false);
    // Nineteen calls: too few to tell.
    expect(circuit.state).toBe("closed");
    call(true);
    expect(circuit.state).toBe("open");
  });

  test("less than half does not, however many they are", () => {
    for (let count = 0; count < 1_000; count += 1) {
      call(false, 2);
      call(true);
    }
    expect(circuit.state).toBe("closed");
  });

  test("what is ten seconds old no longer counts towards the half", () => {
    for (let count = 0; count < 9; count += 1) {
      call(false);
      call(true);
    }
    nowMs += 10_000;
    call(false);
    call(true);
    expect(circuit.state).toBe("closed");
  });
});

describe("while it is open", () => {
  test("no call passes for five seconds, and the time that is left is told", () => {
    call(true, 10);
    for (const atMs of [0, 1, 1_000, 4_000, 4_999]) {
      nowMs = atMs;
      expect(enter()).toEqual({ kind: "open", waitMs: 5_000 - atMs });
      expect(circuit.state).toBe("open");
    }
  });

  test("it counts as half open from when a probe is due, whether or not a call comes", () => {
    call(true, 10);
    nowMs = 5_000;
    expect(circuit.state).toBe("half_open");
    nowMs = 3_600_000;
    expect(circuit.state).toBe("half_open");
    expect(circuit.waitMs()).toBe(0);
  });

  test("calls begun before say nothing any more, neither good nor bad", () => {
    const early = Array.from({ length: 30 }, () => pass());
    openUntilProbe();
    for (const old of early.slice(0, 15)) circuit.record(old, false);
    expect(circuit.state).toBe("half_open");
    const probe = pass("probe");
    for (const old of early.slice(15)) circuit.record(old, true);
    circuit.record(probe, false);
    for (const old of early) circuit.record(old, true);
    expect(circuit.state).toBe("closed");
  });
});

describe("the probe", () => {
  test("of a thousand at once one passes, and the others wait for the next", () => {
    openUntilProbe();
    const kinds = Array.from({ length: 1_000 }, () => enter().kind);
    expect(kinds.filter((kind) => kind === "probe")).toHaveLength(1);
    expect(kinds.filter((kind) => kind === "closed")).toHaveLength(0);
    expect(enter()).toEqual({ kind: "open", waitMs: 5_000 });
    expect(circuit.state).toBe("half_open");
  });

  test("that succeeds closes it for everyone, with nothing left of the row", () => {
    openUntilProbe();
    circuit.record(pass("probe"), false);
    expect(circuit.state).toBe("closed");
    call(true, 9);
    expect(circuit.state).toBe("closed");
  });

  test("that fails opens it for another five seconds", () => {
    openUntilProbe();
    const probe = pass("probe");
    nowMs += 2_000;
    circuit.record(probe, true);
    expect(circuit.state).toBe("open");
    nowMs += 4_999;
    expect(enter().kind).toBe("open");
    nowMs += 1;
    pass("probe");
  });

  test("that takes long, or is forgotten, does not keep the next from trying", () => {
    openUntilProbe();
    const slow = pass("probe");
    nowMs += 5_000;
    pass("probe");
    circuit.record(slow, false);
    expect(circuit.state).toBe("closed");
  });

  test("of an earlier outage decides nothing in this one", () => {
    openUntilProbe();
    const forgotten = pass("probe");
    nowMs += 5_000;
    circuit.record(pass("probe"), false);
    openUntilProbe();
    circuit.record(forgotten, false);
    expect(circuit.state).toBe("half_open");
  });
});

// The same rules over a plain list of everything that happened.
test("any history of calls gets the decisions of the rules, read literally", () => {
  const step = fc.record({
    waitMs: fc.oneof(fc.constant(0), fc.nat(300), fc.nat(6_000)),
    action: fc.constantFrom("enter", "succeed", "succeed", "fail", "fail", "fail"),
    which: fc.nat(),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
      nowMs = 0;
      circuit = createCircuitBreaker({ epochMs: () => 0, monotonicMs: () => nowMs });
      let era = 0;
      let openedAtMs: number | undefined;
      let done: { readonly atMs: number; readonly failed: boolean }[] = [];
      const running: { readonly pass: CircuitPass; readonly era: number }[] = [];
      for (const { waitMs, action, which } of steps) {
        nowMs += waitMs;
        const decision = enter();
        const expected =
          openedAtMs === undefined ? "closed" : nowMs - openedAtMs >= 5_000 ? "probe" : "open";
        expect(decision.kind).toBe(expected);
        if (decision.kind === "open") {
          expect(decision.waitMs).toBe((openedAtMs ?? 0) + 5_000 - nowMs);
        } else {
          running.push({ pass: decision, era });
          // Until its outcome is known, the next probe is as far away as after a failure.
          if (decision.kind === "probe") openedAtMs = nowMs;
        }
        const [ended] = action === "enter" ? [] : running.splice(which % (running.length || 1), 1);
        if (ended === undefined) continue;
        const failed = action === "fail";
        circuit.record(ended.pass, failed);
        if (ended.era !== era) continue;
        if (ended.pass.kind === "probe") {
          openedAtMs = failed ? nowMs : undefined;
          if (!failed) {
            era += 1;
            done = [];
          }
          continue;
        }
        if (openedAtMs !== undefined) continue;
        done.push({ atMs: nowMs, failed });
        const inRow = done.length - 1 - done.findLastIndex((entry) => !entry.failed);
        const second = Math.floor(nowMs / 1_000);
        const late = done.filter(({ atMs }) => Math.floor(atMs / 1_000) > second - 10);
        const half = late.filter((entry) => entry.failed).length * 2 >= late.length;
        if (failed && (inRow >= 10 || (late.length >= 20 && half))) openedAtMs = nowMs;
      }
    }),
    { numRuns: 500 },
  );
});
