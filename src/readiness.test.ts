import { expect, test, vi } from "vitest";

import { createMovableClock } from "../test/support/state-fixtures.ts";
import { createReadiness, type Readiness } from "./readiness.ts";

test("at most one check per second is made, for any number of requests", async () => {
  const clock = createMovableClock();
  const check = vi.fn<() => Promise<Readiness>>().mockResolvedValue(undefined);
  const isReady = createReadiness(clock, check);
  await isReady();
  for (let asked = 0; asked < 1_000; asked += 1) {
    clock.advanceMs(5);
    expect(await isReady()).toBeUndefined();
  }
  expect(check).toHaveBeenCalledTimes(6);
});

test("while a slow check runs, the result before it is returned, and no second check starts", async () => {
  const clock = createMovableClock();
  const slow = Promise.withResolvers<Readiness>();
  const check = vi
    .fn<() => Promise<Readiness>>()
    .mockResolvedValueOnce("state_unavailable")
    .mockReturnValueOnce(slow.promise);
  const isReady = createReadiness(clock, check);
  await isReady();
  clock.advanceMs(1_000);
  const checking = isReady();
  expect(await isReady()).toBe("state_unavailable");
  expect(check).toHaveBeenCalledTimes(2);
  slow.resolve(undefined);
  expect(await checking).toBeUndefined();
  expect(await isReady()).toBeUndefined();
});

test("a change shows within a second", async () => {
  const clock = createMovableClock();
  let state: Readiness;
  const isReady = createReadiness(clock, () => Promise.resolve(state));
  expect(await isReady()).toBeUndefined();
  state = "auth_unavailable";
  clock.advanceMs(999);
  expect(await isReady()).toBeUndefined();
  clock.advanceMs(1);
  expect(await isReady()).toBe("auth_unavailable");
});
