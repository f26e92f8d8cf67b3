import { expect, test } from "vitest";

import { chooseSweepPauseMs, SWEEP_EVERY_MS, SWEEP_PAUSE_MAX_MS } from "./sweep.ts";

test("few values are swept again as soon as the first of them can have expired", () => {
  expect(chooseSweepPauseMs({ values: 1, nextExpiryMs: 1 })).toBe(SWEEP_EVERY_MS);
  expect(chooseSweepPauseMs({ values: 1, nextExpiryMs: 2 * SWEEP_EVERY_MS })).toBe(
    2 * SWEEP_EVERY_MS,
  );
});

test.each([1_000, 100_000, 700_000])(
  "sweeping %i values reads less than 1.5 million a day",
  (values) => {
    const sweepsPerDay = 86_400_000 / chooseSweepPauseMs({ values, nextExpiryMs: 1 });
    expect(sweepsPerDay * values * 2).toBeLessThan(1_500_000);
  },
);

test("what expired lies for a day at most, however many values there are", () => {
  expect(chooseSweepPauseMs({ values: 1e9, nextExpiryMs: 1 })).toBe(SWEEP_PAUSE_MAX_MS);
  expect(chooseSweepPauseMs({ values: 1, nextExpiryMs: 1e12 })).toBe(SWEEP_PAUSE_MAX_MS);
});
