import * as fc from "fast-check";
import { describe, expect, test } from "vitest";

import { findInexactNumbers } from "./exact-numbers.ts";

const isKept = (number: string) => findInexactNumbers(number).length === 0;

function readDecimal(text: string) {
  const [mantissa = "", exponent = "0"] = text.toLowerCase().split("e");
  const [whole = "", fraction = ""] = mantissa.split(".");
  return { digits: BigInt(whole + fraction), power: Number(exponent) - fraction.length };
}

/** Compares whole digits and powers of ten as BigInt: another way to the same. */
function isSameDecimal(one: string, other: string): boolean {
  const [a, b] = [readDecimal(one), readDecimal(other)];
  const least = Math.min(a.power, b.power);
  const scale = ({ digits, power }: typeof a) => digits * 10n ** BigInt(power - least);
  return scale(a) === scale(b);
}

const digits = (lengthMax: number) =>
  fc
    .array(fc.constantFrom("0", "0", "0", "1", "2", "4", "5", "7", "9", "9"), {
      minLength: 1,
      maxLength: lengthMax,
    })
    .map((list) => list.join(""));

describe("a number is kept when it is written again as the same decimal number", () => {
  test.each([
    "0",
    "-0",
    "0.0",
    "0e999999999999999999999",
    "1.0",
    "1e2",
    "1E+2",
    "100e-2",
    "0.1",
    "-0.30000000000000004",
    "9007199254740991",
    "9007199254740992",
    "10000000000000000",
    "1e23",
    "1.7976931348623157e308",
    "5e-324",
    `1${"0".repeat(300)}`,
    `0.${"0".repeat(400)}1e401`,
    `1.${"0".repeat(30_000)}`,
  ])("%s is", (number) => {
    expect(isKept(number)).toBe(true);
  });

  test.each([
    "9007199254740993",
    "-9007199254740993",
    "10000000000000001",
    "123456789012345678901234567890",
    "1e400",
    "-1e400",
    "1e99999999999999999999",
    "1e-400",
    "1e-99999999999999999999",
    "0.12345678901234567890",
    "1.00000000000000000001",
    `1.${"0".repeat(30_000)}1`,
  ])("%s is not", (number) => {
    expect(isKept(number)).toBe(false);
  });

  test("whatever JavaScript writes is", () => {
    fc.assert(
      fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (value) => {
        expect(isKept(JSON.stringify(value))).toBe(true);
      }),
    );
  });

  test("whatever a client writes is judged as arithmetic with whole numbers judges it", () => {
    const number = fc
      .tuple(
        fc.constantFrom("", "-"),
        digits(22).map((text) => text.replace(/^0+(?=\d)/, "")),
        fc.option(digits(22), { nil: undefined }),
        fc.option(fc.integer({ min: -340, max: 340 }), { nil: undefined }),
      )
      .map(
        ([sign, whole, fraction, exponent]) =>
          `${sign}${whole}${fraction === undefined ? "" : `.${fraction}`}${exponent === undefined ? "" : `e${exponent}`}`,
      );
    fc.assert(
      fc.property(number, (text) => {
        const value = Number(text);
        const same = Number.isFinite(value) && isSameDecimal(text, JSON.stringify(value));
        expect(isKept(text)).toBe(same);
      }),
      { numRuns: 2_000 },
    );
  });
});

describe("where", () => {
  test("is told for each number, in lists and objects, whatever they are called", () => {
    expect(
      findInexactNumbers(
        '{"a":[0,1e400,{"":9007199254740993}],"__proto__":{"b":1e-400},"length":1e999,"0":1e999}',
      ).map((path) => path.join("/")),
    ).toEqual(["0", "a/1", "a/2/", "__proto__/b", "length"]);
  });

  test("is nowhere for other values, numbers in strings and members that a later one replaces", () => {
    expect(findInexactNumbers('["1e400",null,true,{"1e400":"9007199254740993"}]')).toEqual([]);
    expect(findInexactNumbers('{"a":1e400,"a":[1],"b":{"c":1},"b":2}')).toEqual([]);
    expect(findInexactNumbers('{"a":1,"a":1e400}')).toEqual([["a"]]);
  });

  test("is nowhere in any JSON that JavaScript wrote", () => {
    fc.assert(
      fc.property(fc.json(), (text) => {
        expect(findInexactNumbers(text)).toEqual([]);
      }),
    );
  });
});

test("a body of nothing but digits, or of thousands of numbers, takes no time to speak of", () => {
  const startedMs = performance.now();
  expect(isKept("1".repeat(1_000_000))).toBe(false);
  expect(isKept(`1.${"0".repeat(1_000_000)}1`)).toBe(false);
  expect(findInexactNumbers(`[${"1e400,".repeat(100_000)}0]`)).toHaveLength(100_000);
  expect(performance.now() - startedMs).toBeLessThan(5_000);
});
