import * as fc from "fast-check";
import { describe, expect, test } from "vitest";

import { createMovableClock } from "../../test/support/state-fixtures.ts";
import { createSlowBodyGate } from "./slow-body-gate.ts";

const clock = createMovableClock(1_700_000_000_000);

describe("slow bodies in progress", () => {
  test("are bounded for each holder, and a full holder does not affect another", () => {
    const gate = createSlowBodyGate(clock, 10_000);
    const slow = [{ key: "address slow", bodiesMax: 2 }];
    expect(gate.enter(slow)).toBeTypeOf("function");
    const end = gate.enter(slow);
    expect(gate.enter(slow)).toBeUndefined();
    expect(gate.enter([{ key: "address other", bodiesMax: 2 }])).toBeTypeOf("function");
    end?.();
    expect(gate.enter(slow)).toBeTypeOf("function");
  });

  test("a refusal by one holder takes nothing from the others", () => {
    const gate = createSlowBodyGate(clock, 10_000);
    const subject = { key: "subject a", bodiesMax: 1 };
    const end = gate.enter([subject]);
    expect(gate.enter([{ key: "address x", bodiesMax: 1 }, subject])).toBeUndefined();
    expect(gate.enter([{ key: "address x", bodiesMax: 1 }])).toBeTypeOf("function");
    end?.();
  });

  test("that never end count no longer than a body can take", () => {
    const gate = createSlowBodyGate(clock, 10_000);
    const holder = [{ key: "address a", bodiesMax: 1 }];
    const end = gate.enter(holder);
    clock.advanceMs(9_999);
    expect(gate.enter(holder)).toBeUndefined();
    clock.advanceMs(1);
    expect(gate.enter(holder)).toBeTypeOf("function");
    // The late end of the first body does not free the place of the second.
    end?.();
    expect(gate.enter(holder)).toBeUndefined();
  });

  test("no holder exceeds its bound, in any order of events", () => {
    const step = fc.record({ keys: fc.subarray(["a", "b", "c"], { minLength: 1 }), end: fc.nat() });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 50 }), (steps) => {
        const gate = createSlowBodyGate(clock, 10_000);
        const inside: { keys: string[]; end: () => void }[] = [];
        const countOf = (key: string) => inside.filter(({ keys }) => keys.includes(key)).length;
        for (const { keys, end } of steps) {
          const fits = keys.every((key) => countOf(key) < 3);
          const ended = gate.enter(keys.map((key) => ({ key, bodiesMax: 3 })));
          expect(ended !== undefined).toBe(fits);
          if (ended !== undefined) inside.push({ keys, end: ended });
          if (end % 2 === 0) inside.splice(end % (inside.length + 1), 1)[0]?.end();
        }
      }),
    );
  });
});
