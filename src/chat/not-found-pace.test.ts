import { expect, test } from "vitest";

import { createNotFoundPace } from "./not-found-pace.ts";

test("a refusal waits for nothing before anything was noted", () => {
  expect(createNotFoundPace().next("read")).toBe(0);
});

test("a refusal takes a time that UponAI took of late", () => {
  const pace = createNotFoundPace();
  pace.note("read", 120);
  expect([pace.next("read"), pace.next("read")]).toEqual([120, 120]);
});

test("refusals in a row take different times, each that was noted", () => {
  const pace = createNotFoundPace();
  for (const ms of [100, 200, 300]) pace.note("read", ms);
  const taken = Array.from({ length: 6 }, () => pace.next("read"));
  expect(taken.toSorted((one, other) => one - other)).toEqual([100, 100, 200, 200, 300, 300]);
});

test("only the last sixteen count", () => {
  const pace = createNotFoundPace();
  for (let ms = 1; ms <= 20; ms += 1) pace.note("read", ms);
  const taken = new Set(Array.from({ length: 32 }, () => pace.next("read")));
  expect([...taken].toSorted((one, other) => one - other)).toEqual(
    Array.from({ length: 16 }, (_, index) => index + 5),
  );
});

test("what was asked is told apart: one kind's times are not another's", () => {
  const pace = createNotFoundPace();
  pace.note("send", 900);
  // Better than nothing: another kind's.
  expect(pace.next("read")).toBe(900);
  pace.note("read", 10);
  expect([pace.next("send"), pace.next("read")]).toEqual([900, 10]);
});
