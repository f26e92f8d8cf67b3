import { setImmediate } from "node:timers/promises";

import * as fc from "fast-check";
import { describe, expect, test, vi } from "vitest";

import { createLoadGate, type LoadGate } from "./load-gate.ts";
import { Problem } from "./problem.ts";

/** Tries to enter. Returns the code of the refusal, or `in`. */
function enter(gate: LoadGate): string {
  try {
    gate.enter();
    return "in";
  } catch (error) {
    if (error instanceof Problem) return error.code;
    throw error;
  }
}

function leave(gate: LoadGate): string {
  gate.leave();
  return "left";
}

test("a stop that is announced refuses no request until the drain", async () => {
  const gate = createLoadGate(2);
  expect([gate.stopping, gate.draining]).toEqual([false, false]);
  gate.announceStop();
  expect([gate.stopping, gate.draining]).toEqual([true, false]);
  expect(() => gate.requireRunning()).not.toThrow();
  await gate.drain();
  expect([gate.stopping, gate.draining]).toEqual([true, true]);
  expect(() => gate.requireRunning()).toThrow("shutting_down");
});

describe("capacity", () => {
  test("as many as allowed are let in, the next one is refused and does not count", () => {
    const gate = createLoadGate(2);
    expect([enter(gate), enter(gate), enter(gate), enter(gate)]).toEqual([
      "in",
      "in",
      "overloaded",
      "overloaded",
    ]);
    expect(gate.inFlight).toBe(2);
  });

  test("asking for room takes no place", () => {
    const gate = createLoadGate(1);
    gate.requireRoom();
    gate.requireRoom();
    expect(gate.inFlight).toBe(0);
    enter(gate);
    expect(() => gate.requireRoom()).toThrow("overloaded");
  });

  test("one that leaves makes room for exactly one", () => {
    const gate = createLoadGate(1);
    enter(gate);
    gate.leave();
    expect([enter(gate), enter(gate)]).toEqual(["in", "overloaded"]);
  });

  test("the bound holds and each place is given back, in any order of events", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 5 }),
        fc.array(fc.boolean(), { maxLength: 60 }),
        (max, comings) => {
          const gate = createLoadGate(max);
          let inside = 0;
          for (const coming of comings) {
            if (!coming && inside === 0) continue;
            const refused = coming && inside === max;
            const outcome = coming ? enter(gate) : leave(gate);
            expect(outcome === "overloaded").toBe(refused);
            if (!refused) inside += coming ? 1 : -1;
            expect(gate.inFlight).toBe(inside);
          }
        },
      ),
    );
  });
});

describe("draining", () => {
  test("new requests are refused, even where there is room", async () => {
    const gate = createLoadGate(5);
    expect(gate.draining).toBe(false);
    expect(() => gate.requireRunning()).not.toThrow();
    await gate.drain();
    expect(gate.draining).toBe(true);
    expect(() => gate.requireRunning()).toThrow("shutting_down");
    expect(gate.inFlight).toBe(0);
  });

  test("a request that arrived before the drain still gets its place", async () => {
    const gate = createLoadGate(1);
    gate.requireRunning();
    await gate.drain();
    expect(enter(gate)).toBe("in");
    expect(enter(gate)).toBe("overloaded");
  });

  test("the drain ends when the last request has left, not before", async () => {
    const gate = createLoadGate(5);
    enter(gate);
    enter(gate);
    const drained = vi.fn<() => void>();
    const draining = gate.drain().then(drained);
    gate.leave();
    await setImmediate();
    expect(drained).not.toHaveBeenCalled();
    gate.leave();
    await draining;
    expect(drained).toHaveBeenCalledTimes(1);
    expect(gate.inFlight).toBe(0);
  });

  test("several calls of drain end together", async () => {
    const gate = createLoadGate(5);
    enter(gate);
    const both = Promise.all([gate.drain(), gate.drain()]);
    gate.leave();
    await both;
    await gate.drain();
    expect(gate.draining).toBe(true);
  });
});

test("listeners hear of the drain once, before it waits for requests", async () => {
  const gate = createLoadGate(1);
  gate.enter();
  const heard = vi.fn<() => void>();
  gate.onDrain(heard);
  gate.announceStop();
  expect(heard).not.toHaveBeenCalled();
  const drained = gate.drain();
  expect(heard).toHaveBeenCalledOnce();
  gate.leave();
  await drained;
  await gate.drain();
  expect(heard).toHaveBeenCalledOnce();
});
