import * as fc from "fast-check";
import { describe, expect, test } from "vitest";

import { describeApplied, parsePreference } from "./prefer.ts";

describe("a bounded wait", () => {
  test.each([
    ["respond-async, wait=25", 25],
    ["wait=25, respond-async", 25],
    ["Respond-Async , WAIT = 25", 25],
    ['respond-async, wait="25"', 25],
    ["respond-async;foo=bar;baz, wait=25;x", 25],
    ["return=minimal, respond-async, wait=25, handling=lenient", 25],
    [",, respond-async,, wait=25,", 25],
    ['respond-async=""', 0],
    ["respond-async", 0],
    // Only the first of a name counts.
    ["respond-async, wait=25, wait=3", 25],
    // Clamped.
    ["respond-async, wait=0", 1],
    ["respond-async, wait=1", 1],
    ["respond-async, wait=55", 55],
    ["respond-async, wait=56", 55],
    [`respond-async, wait=${"9".repeat(400)}`, 55],
    ["respond-async, wait=007", 7],
  ])("is read from %s", (header, waitSeconds) => {
    expect(parsePreference(header)).toEqual({ waitSeconds });
  });

  test.each([
    null,
    "",
    ",",
    "wait=25",
    "return=minimal",
    "respond-async=1",
    "respond-async, wait",
    "respond-async, wait=",
    "respond-async, wait=-1",
    "respond-async, wait=1.5",
    "respond-async, wait=1e1",
    "respond-async, wait=abc",
    "respond-async, wait=25 26",
    "respond-async wait=25",
    'respond-async, wait="25',
    "respond-async, =25",
    "respond-async, wait==25",
    "respond-async; wait=25, \u0001",
    "räspond-async",
  ])("is not read from %j", (header) => {
    expect(parsePreference(header)).toBeUndefined();
  });

  test("is a parameter only where it is one", () => {
    expect(parsePreference("respond-async; wait=25")).toEqual({ waitSeconds: 0 });
  });

  test("never throws, and is undefined or from 0 to 55", () => {
    const piece = fc.constantFrom(...'respond-async|wait|=|,|;| |\t|"|\\|25|a|\u00e4'.split("|"));
    const header = fc.array(piece, { maxLength: 30 }).map((pieces) => pieces.join(""));
    fc.assert(
      fc.property(fc.oneof(header, fc.string()), (text) => {
        const parsed = parsePreference(text);
        if (parsed === undefined) return;
        expect(parsed.waitSeconds).toBeGreaterThanOrEqual(0);
        expect(parsed.waitSeconds).toBeLessThanOrEqual(55);
      }),
      { numRuns: 2_000 },
    );
  });
});

describe("Preference-Applied", () => {
  test.each([
    [25, true, "respond-async, wait=25"],
    [25, false, "wait=25"],
    [0, true, "respond-async"],
    [0, false, undefined],
  ])("of wait=%i, async %s is %s", (waitSeconds, isAsync, applied) => {
    expect(describeApplied({ waitSeconds }, isAsync)).toBe(applied);
  });
});
