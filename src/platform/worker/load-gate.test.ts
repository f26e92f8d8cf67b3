import { expect, test } from "vitest";

import type { LoadGate } from "../../load-gate.ts";
import { Problem } from "../../problem.ts";
import { createWorkerGate } from "./load-gate.ts";
import { runInScope } from "./request-scope.ts";

let nowMs = 0;
const clock = { epochMs: () => nowMs, monotonicMs: () => nowMs };

/** Enters in a new request. Returns a function that ends it, or the code of the refusal. */
async function enter(gate: LoadGate): Promise<(() => void) | string> {
  const entered = Promise.withResolvers<(() => void) | string>();
  const ended = Promise.withResolvers<undefined>();
  void runInScope(
    () => undefined,
    async () => {
      try {
        gate.enter();
      } catch (error) {
        entered.resolve(error instanceof Problem ? error.code : "defect");
        return;
      }
      entered.resolve(() => ended.resolve(undefined));
      await ended.promise;
      gate.leave();
    },
  );
  return entered.promise;
}

function end(request: (() => void) | string | undefined): void {
  if (typeof request !== "function") throw new Error("it did not enter");
  request();
}

test("as many as allowed are let in, and a place is free once one has left", async () => {
  const gate = createWorkerGate(2, 1_000, clock);
  const first = await enter(gate);
  await enter(gate);
  expect(await enter(gate)).toBe("overloaded");
  expect(gate.inFlight).toBe(2);
  end(first);
  await Promise.resolve();
  expect(await enter(gate)).toBeTypeOf("function");
});

test("a request that the platform ended holds its place no longer than a request can take", async () => {
  nowMs = 0;
  const gate = createWorkerGate(1, 1_000, clock);
  await enter(gate);
  nowMs = 1_000;
  expect(await enter(gate)).toBe("overloaded");
  nowMs = 1_001;
  const next = await enter(gate);
  expect(next).toBeTypeOf("function");
  end(next);
  await Promise.resolve();
  expect(gate.inFlight).toBe(0);
});
