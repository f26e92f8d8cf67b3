import * as fc from "fast-check";
import { describe, expect, test } from "vitest";

import { parseByteSize, parseDuration, parseQuota } from "./units.ts";

const MS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
const BYTES = { B: 1, KiB: 1_024, MiB: 1_048_576 } as const;
const SECONDS = { s: 1, m: 60, h: 3_600, d: 86_400 } as const;

const unitOf = <Unit extends string>(factors: Readonly<Record<Unit, number>>) =>
  fc.constantFrom(...(Object.keys(factors) as Unit[]));

/** Anything at all, and what is nearly right: the second is where a loose pattern shows. */
const junk = (near: RegExp) => fc.oneof(fc.string({ unit: "binary" }), fc.stringMatching(near));

/** What the grammar calls a number, said without a pattern. */
function isCount(text: string, digitsMax: number): boolean {
  const digits = text.split("");
  return (
    digits.length >= 1 &&
    digits.length <= digitsMax &&
    digits[0] !== "0" &&
    digits.every((digit) => "0123456789".includes(digit))
  );
}

function isCountAndUnit(text: string, units: readonly string[], digitsMax: number): boolean {
  return units.some(
    (unit) => text.endsWith(unit) && isCount(text.slice(0, text.length - unit.length), digitsMax),
  );
}

describe("durations", () => {
  test.each([
    ["500ms", 500],
    ["60s", 60_000],
    ["5m", 300_000],
    ["8h", 28_800_000],
    ["30d", 2_592_000_000],
  ])("%s is %i milliseconds", (text, ms) => {
    expect(parseDuration(text)).toBe(ms);
  });

  test.each(["", "0s", "05s", "10", "1.5s", "-1s", "+1s", "1 s", " 1s", "1s ", "1s\n", "1S", "1w"])(
    "%j is refused",
    (text) => {
      expect(parseDuration(text)).toBeUndefined();
    },
  );

  test("whatever can be written is read back as what was meant", () => {
    const amounts = fc.tuple(fc.integer({ min: 1, max: 99_999 }), unitOf(MS));
    fc.assert(
      fc.property(amounts, ([count, unit]) => {
        expect(parseDuration(`${count}${unit}`)).toBe(count * MS[unit]);
      }),
    );
  });

  test("junk is refused and never throws", () => {
    fc.assert(
      fc.property(junk(/^[0-9]{0,11}(ms|s|m|h|d|S|sec|w| s|)\n?$/), (text) => {
        expect(parseDuration(text) !== undefined).toBe(isCountAndUnit(text, Object.keys(MS), 9));
      }),
      { numRuns: 1_000 },
    );
  });
});

describe("sizes", () => {
  test.each([
    ["8000", 8_000],
    ["8000B", 8_000],
    ["32KiB", 32_768],
    ["1MiB", 1_048_576],
  ])("%s is %i bytes", (text, bytes) => {
    expect(parseByteSize(text)).toBe(bytes);
  });

  test.each(["", "0", "0B", "01", "1kb", "1KB", "1kib", "1GiB", "1.5MiB", "-1", "1 KiB", "1\n"])(
    "%j is refused",
    (text) => {
      expect(parseByteSize(text)).toBeUndefined();
    },
  );

  test("whatever can be written is read back as what was meant", () => {
    const sizes = fc.tuple(fc.integer({ min: 1, max: 999_999_999 }), unitOf(BYTES));
    fc.assert(
      fc.property(sizes, ([count, unit]) => {
        expect(parseByteSize(`${count}${unit}`)).toBe(count * BYTES[unit]);
      }),
    );
  });

  test("junk is refused and never throws", () => {
    fc.assert(
      fc.property(junk(/^[0-9]{0,11}(B|KiB|MiB|kb|GiB| B|)\n?$/), (text) => {
        const right = isCountAndUnit(text, [...Object.keys(BYTES), ""], 9);
        expect(parseByteSize(text) !== undefined).toBe(right);
      }),
      { numRuns: 1_000 },
    );
  });
});

describe("quotas", () => {
  test("the burst is the quota unless said otherwise", () => {
    expect(parseQuota("20/1m")).toEqual({ quota: 20, windowSeconds: 60, burst: 20 });
    expect(parseQuota("1000/1d;burst=50")).toEqual({
      quota: 1_000,
      windowSeconds: 86_400,
      burst: 50,
    });
    expect(parseQuota("off")).toBe("off");
  });

  test.each([
    "",
    "0/1m",
    "20/0m",
    "20/1m;burst=0",
    "020/1m",
    "20/1m;burst=",
    "20/1m;burst=-1",
    "1.5/1m",
    "20",
    "20/m",
    "20/1ms",
    "20/1w",
    "20 / 1m",
    "20/1m;",
    "20/1m; burst=5",
    "20/1m;BURST=5",
    "20/1m;burst=5;burst=6",
    "OFF",
    "off ",
    "none",
    "0",
    "20/1m\n",
    "20/1m,10/1s",
  ])("%j is refused", (text) => {
    expect(parseQuota(text)).toBeUndefined();
  });

  test("whatever can be written is read back as what was meant", () => {
    const quotas = fc.record({
      quota: fc.integer({ min: 1, max: 9_999_999 }),
      window: fc.integer({ min: 1, max: 999 }),
      unit: unitOf(SECONDS),
      burst: fc.option(fc.integer({ min: 1, max: 9_999_999 }), { nil: undefined }),
    });
    fc.assert(
      fc.property(quotas, ({ quota, window, unit, burst }) => {
        const text = `${quota}/${window}${unit}${burst === undefined ? "" : `;burst=${burst}`}`;
        const windowSeconds = window * SECONDS[unit];
        const meant = { quota, windowSeconds, burst: burst ?? quota };
        const right = recoversInTenYears(meant) && quota <= windowSeconds * 1_000_000;
        expect(parseQuota(text)).toEqual(right ? meant : undefined);
      }),
    );
  });

  test("junk is refused and never throws, and what is accepted holds nothing that is zero", () => {
    fc.assert(
      fc.property(junk(/^[0-9]{0,8}\/?[0-9]{0,6}(s|m|ms|d|w|)(;burst=[0-9]{0,3})?\n?$/), (text) => {
        const setting = parseQuota(text);
        const [rate = "", burst, ...more] = text.split(";burst=");
        const [quota = "", window = "", ...rest] = rate.split("/");
        const right =
          isCount(quota, 7) &&
          isCountAndUnit(window, Object.keys(SECONDS), 5) &&
          (burst === undefined || isCount(burst, 7)) &&
          more.length + rest.length === 0;
        // Well-formed quotas are refused only for coming back too slowly or too fast; both are tested
        // by themselves below.
        const refused = right && setting === undefined;
        expect(setting !== undefined).toBe((right && !refused) || text === "off");
        if (setting !== undefined && setting !== "off") {
          expect(Math.min(setting.quota, setting.windowSeconds, setting.burst)).toBeGreaterThan(0);
        }
      }),
      { numRuns: 1_000 },
    );
  });

  test.each([
    ["1/3650d", true],
    ["1/3651d", false],
    ["1/1d;burst=3650", true],
    ["1/1d;burst=3651", false],
    ["9999999/99999d;burst=1", true],
  ])("%s comes back within ten years: %s", (text, right) => {
    expect(parseQuota(text) !== undefined).toBe(right);
  });

  // Limits count in whole microseconds: 2000000/1s would refill half of what it announces.
  test.each([
    ["1000000/1s", true],
    ["1000001/1s", false],
    ["2000000/1s", false],
    ["2000000/1s;burst=1", false],
    ["9999999/9s", false],
    ["9999999/10s", true],
    ["9999999/1m", true],
  ])("%s has an interval of a microsecond or more: %s", (text, right) => {
    expect(parseQuota(text) !== undefined).toBe(right);
  });
});

/** Whether a used burst refills within ten years. */
function recoversInTenYears(meant: {
  quota: number;
  windowSeconds: number;
  burst: number;
}): boolean {
  return (meant.windowSeconds / meant.quota) * meant.burst <= 3_650 * 86_400;
}
