import * as fc from "fast-check";
import { expect, test } from "vitest";

import { parseIdempotencyKey } from "./idempotency-key.ts";

test("no header is no key", () => {
  expect(parseIdempotencyKey(null)).toBeUndefined();
});

test.each(["a", "!", "~", '"quoted"', "a,b", "8e03978e-40d5-43dd-bc93-6894a57f9324"])(
  "%j is a key, as it is",
  (header) => {
    expect(parseIdempotencyKey(header)).toBe(header);
  },
);

test("255 characters are a key, 256 are none", () => {
  expect(parseIdempotencyKey("k".repeat(255))).toBe("k".repeat(255));
  expect(parseIdempotencyKey("k".repeat(256))).toBeNull();
});

test.each([
  "",
  " ",
  "a b",
  " a",
  "a ",
  "a\n",
  "\na",
  "\t",
  "\0",
  "\u007f",
  "\u0080",
  "é",
  "🙂",
  "a, b",
])("%j is not valid", (header) => {
  expect(parseIdempotencyKey(header)).toBeNull();
});

test("a key is 1 to 255 visible ASCII characters, and nothing else is", () => {
  const headers = fc.oneof(
    fc.string({ unit: "binary", maxLength: 300 }),
    fc.string({ minLength: 250, maxLength: 260 }),
  );
  fc.assert(
    fc.property(headers, (header) => {
      const units = header.split("").map((unit) => unit.charCodeAt(0));
      const visible = units.every((unit) => unit > 0x20 && unit < 0x7f);
      const valid = visible && units.length >= 1 && units.length <= 255;
      expect(parseIdempotencyKey(header)).toBe(valid ? header : null);
    }),
  );
});
