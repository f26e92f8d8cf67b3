import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { within } from "./within.ts";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

test("a value in time is returned, and no timer is left", async () => {
  expect(await within(10, Promise.resolve("value"))).toBe("value");
  expect(vi.getTimerCount()).toBe(0);
});

test("a rejection is undefined, and no timer is left", async () => {
  expect(await within(10, Promise.reject(new Error("broken")))).toBeUndefined();
  expect(vi.getTimerCount()).toBe(0);
});

test("a value that takes longer is undefined, and a later rejection is handled", async () => {
  const { promise, reject } = Promise.withResolvers<string>();
  const waiting = within(10, promise);
  await vi.advanceTimersByTimeAsync(9);
  expect(vi.getTimerCount()).toBe(1);
  await vi.advanceTimersByTimeAsync(2);
  expect(await waiting).toBeUndefined();
  reject(new Error("late"));
});

test("a reply that is read in the turn in which the time is over counts", async () => {
  const { promise, resolve } = Promise.withResolvers<string>();
  const waiting = within(10, promise);
  vi.advanceTimersByTime(10);
  resolve("just in time");
  expect(await waiting).toBe("just in time");
});

test.each([0, -1])("a limit of %i ms does not wait, and a rejection is handled", async (ms) => {
  expect(await within(ms, Promise.resolve("value"))).toBeUndefined();
  expect(await within(ms, Promise.reject(new Error("broken")))).toBeUndefined();
});
