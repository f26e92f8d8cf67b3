import * as fc from "fast-check";
import { expect, test } from "vitest";

import { formatMark, NO_MARK, parseMark } from "./transcript-mark.ts";

const anchor = fc.oneof(fc.constant("none"), fc.stringMatching(/^[\w-]{11}$/));

test("a mark that was written is the same mark again, and a word without spaces", () => {
  fc.assert(
    fc.property(fc.record({ count: fc.nat(), anchor }), (mark) => {
      const text = formatMark(mark);
      expect(text).toMatch(/^\S+$/);
      expect(text).not.toBe(NO_MARK);
      expect(parseMark(text)).toEqual(mark);
    }),
  );
});

test("no mark is no mark again", () => {
  expect(parseMark(formatMark(undefined))).toBeUndefined();
});

test.each([undefined, "", "-", "*", "3", ":a", "3:", "-1:a", "1.5:a", "a:3", " 3:a"])(
  "%j is none",
  (text) => {
    expect(parseMark(text)).toBeUndefined();
  },
);
