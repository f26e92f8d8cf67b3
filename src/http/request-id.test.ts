import * as fc from "fast-check";
import { describe, expect, test, vi } from "vitest";

import { parseTraceparent, resolveRequestId } from "./request-id.ts";

describe("request ids", () => {
  test.each(["a", "A-b_9", "x".repeat(64)])("%s is kept, and none is made", (incoming) => {
    const createId = vi.fn<() => string>(() => "made");
    expect(resolveRequestId(incoming, createId)).toBe(incoming);
    expect(createId).not.toHaveBeenCalled();
  });

  test.each([
    null,
    "",
    "x".repeat(65),
    "x".repeat(60_000),
    "a b",
    "a,b",
    "a.b",
    "a/b",
    "a\n",
    '"},{"level":"fatal',
    "é",
    "%61",
    " a",
  ])("%j is replaced", (incoming) => {
    expect(resolveRequestId(incoming, () => "made")).toBe("made");
  });

  test("the id is safe in a header and a log line, for any input", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 70 }), (incoming) => {
        const id = resolveRequestId(incoming, () => "made");
        expect(id).toMatch(/^[A-Za-z0-9_-]{1,64}$/);
        expect([incoming, "made"]).toContain(id);
      }),
    );
  });
});

describe("trace contexts", () => {
  const TRACE = "4bf92f3577b34da6a3ce929d0e0e4736";
  const SPAN = "00f067aa0ba902b7";

  test.each([`00-${TRACE}-${SPAN}-01`, `00-${TRACE}-${SPAN}-00`])("%s is continued", (incoming) => {
    expect(parseTraceparent(incoming)).toBe(incoming);
  });

  test.each([
    null,
    "",
    `00-${"0".repeat(32)}-${SPAN}-01`,
    `00-${TRACE}-${"0".repeat(16)}-01`,
    `00-${TRACE.toUpperCase()}-${SPAN}-01`,
    `ff-${TRACE}-${SPAN}-01`,
    `00-${TRACE}-${SPAN}`,
    `00-${TRACE}-${SPAN}-01-extra`,
    `00-${TRACE}-${SPAN}-01\r\nX-Evil: 1`,
    `00-${TRACE}-${SPAN}-01\n`,
    ` 00-${TRACE}-${SPAN}-01`,
    `00-${TRACE}-${SPAN}-01, 00-${TRACE}-${SPAN}-01`,
    `00-${TRACE.slice(1)}-${SPAN}-01`,
    `00-${TRACE.replace("4", "g")}-${SPAN}-01`,
  ])("%j does not", (incoming) => {
    expect(parseTraceparent(incoming)).toBeUndefined();
  });
});
