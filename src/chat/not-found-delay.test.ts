import { beforeEach, describe, expect, test } from "vitest";

import type { WorkspaceId } from "../branded.ts";
import type { ProviderAccount } from "./chat-provider.ts";
import { createNotFoundDelay, type NotFoundDelay } from "./not-found-delay.ts";

const ACME: ProviderAccount = { id: 42 as WorkspaceId, apiTokens: ["acme"] };
const GLOBEX: ProviderAccount = { id: 43 as WorkspaceId, apiTokens: ["globex"] };

let delay: NotFoundDelay;
/** What the next draws are made with; 0 where it is empty. */
let drawn: number[];

beforeEach(() => {
  drawn = [];
  delay = createNotFoundDelay(() => drawn.shift() ?? 0);
});

describe("before any request found no chat", () => {
  test("a delay is 150 ms for each call that the request would make", () => {
    expect(delay.estimate(ACME, [])).toBe(0);
    expect(delay.estimate(ACME, ["send"])).toBe(150);
    expect(delay.estimate(ACME, ["check", "send"])).toBe(300);
  });

  test("it is a measured call's time for each call, once there is one", () => {
    delay.recordCall(ACME, 40);
    expect(delay.estimate(ACME, ["end"])).toBe(40);
    expect(delay.estimate(ACME, ["check", "end"])).toBe(80);
    delay.recordCall(ACME, 60);
    // For each call: which two times, and where between them.
    drawn = [0, 0.5, 0.5, 0.5, 0.9, 0];
    expect(delay.estimate(ACME, ["check", "end"])).toBe(110);
  });
});

describe("once requests found no chat", () => {
  test("a delay is the time of one that made the same calls", () => {
    delay.recordCall(ACME, 7);
    delay.recordRequest(ACME, ["check", "send"], 280);
    delay.recordRequest(ACME, ["send"], 120);
    expect(delay.estimate(ACME, ["check", "send"])).toBe(280);
    expect(delay.estimate(ACME, ["send"])).toBe(120);
    expect(delay.estimate(ACME, ["read"])).toBe(7);
  });

  test("a delay lies anywhere between two recorded times, so that no client knows them again", () => {
    delay = createNotFoundDelay();
    const recorded = [100, 180, 300];
    for (const ms of recorded) delay.recordRequest(ACME, ["read"], ms);
    const delays = Array.from({ length: 1_000 }, () => delay.estimate(ACME, ["read"]));
    expect(Math.min(...delays)).toBeGreaterThanOrEqual(100);
    expect(Math.max(...delays)).toBeLessThanOrEqual(300);
    // A third of the draws choose one time twice.
    expect(delays.filter((ms) => !recorded.includes(ms)).length).toBeGreaterThan(400);
  });

  test("only the last sixteen count", () => {
    for (let ms = 1; ms <= 20; ms += 1) delay.recordRequest(ACME, ["read"], ms);
    const delays = Array.from({ length: 16 }, (_, index) => {
      const which = (index + 0.5) / 16;
      drawn = [which, which, 0];
      return delay.estimate(ACME, ["read"]);
    });
    expect(delays.toSorted((one, other) => one - other)).toEqual(
      Array.from({ length: 16 }, (_, index) => index + 5),
    );
  });
});

test("one account's times are not another's: a slow workspace slows down no other", () => {
  delay.recordRequest(ACME, ["read"], 1_900);
  delay.recordCall(ACME, 1_900);
  expect(delay.estimate(GLOBEX, ["read"])).toBe(150);
  delay.recordCall(GLOBEX, 20);
  expect(delay.estimate(GLOBEX, ["check", "send"])).toBe(40);
});

test("no delay is over two seconds", () => {
  delay.recordRequest(ACME, ["read"], 30_000);
  delay.recordCall(ACME, 1_500);
  expect(delay.estimate(ACME, ["read"])).toBe(2_000);
  expect(delay.estimate(ACME, ["check", "end"])).toBe(2_000);
});
