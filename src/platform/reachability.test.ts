import { beforeEach, expect, test } from "vitest";

import { createReachability } from "./reachability.ts";

const UNREACHABLE = "state is unreachable: requests get 503 until it is back";

let nowMs: number;
let lines: string[];
const clock = { epochMs: () => 0, monotonicMs: () => nowMs };
const log = {
  log: (_level: string, message: string, fields?: object) => {
    lines.push([message, ...Object.values(fields ?? {}).map(String)].join(": "));
  },
};

beforeEach(() => {
  nowMs = 0;
  lines = [];
});

test("an outage is said once, with its first reason, and so is its end", () => {
  const reachability = createReachability(clock, log, 0);
  for (const reason of ["closed", "ECONNREFUSED", "ECONNREFUSED"]) reachability.failed({ reason });
  expect([reachability.succeeded(), reachability.succeeded()]).toEqual([true, false]);
  expect(lines).toEqual([`${UNREACHABLE}: closed`, "state is reachable again"]);
});

test("a refusal after a lost connection is said too, once", () => {
  const reachability = createReachability(clock, log, 0);
  for (const reason of ["closed", "ECONNREFUSED"]) reachability.failed({ reason });
  for (const reason of ["NOPERM", "LOADING", "NOPERM"]) reachability.failed({ reason }, true);
  reachability.failed({ reason: "closed" });
  reachability.succeeded();
  reachability.failed({ reason: "NOPERM" }, true);
  expect(lines).toEqual([
    `${UNREACHABLE}: closed`,
    `${UNREACHABLE}: NOPERM`,
    "state is reachable again",
    `${UNREACHABLE}: NOPERM`,
  ]);
});

test("without an outage nothing is said", () => {
  const reachability = createReachability(clock, log, 0);
  expect([reachability.succeeded(), reachability.succeeded()]).toEqual([false, false]);
  expect(lines).toEqual([]);
});

test("an outage of one of many nodes ends when nothing has failed for a while", () => {
  const reachability = createReachability(clock, log, 1_000);
  for (; nowMs < 60_000; nowMs += 500) {
    reachability.failed({ reason: "closed" });
    expect(reachability.succeeded()).toBe(false);
  }
  nowMs += 499;
  expect(reachability.succeeded()).toBe(false);
  nowMs += 1;
  expect(reachability.succeeded()).toBe(true);
  expect(lines).toEqual([`${UNREACHABLE}: closed`, "state is reachable again"]);
});
