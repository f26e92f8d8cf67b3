import * as fc from "fast-check";
import { expect, test } from "vitest";

import { formatState, NO_STATE, parseState } from "./transcript-state.ts";

const digest = fc.oneof(fc.constant("none"), fc.stringMatching(/^[\w-]{11}$/));

test("a state that was written is the same state again, and a word without spaces", () => {
  fc.assert(
    fc.property(fc.record({ count: fc.nat(), digest }), (state) => {
      const text = formatState(state);
      expect(text).toMatch(/^\S+$/);
      expect(text).not.toBe(NO_STATE);
      expect(parseState(text)).toEqual(state);
    }),
  );
});

test("no state is no state again", () => {
  expect(parseState(formatState(undefined))).toBeUndefined();
});

test.each([undefined, "", "-", "*", "3", ":a", "3:", "-1:a", "1.5:a", "a:3", " 3:a"])(
  "%j is none",
  (text) => {
    expect(parseState(text)).toBeUndefined();
  },
);
