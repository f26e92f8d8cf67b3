import * as fc from "fast-check";
import { describe, expect, test } from "vitest";

import { parseWorkspaceClaim, resolveClaim } from "./claims.ts";

const INHERITED = ["constructor", "__proto__", "toString", "hasOwnProperty", "valueOf"];

describe("looking up a claim", () => {
  const claims = {
    workspace: "acme",
    "https://claims.example/org.id": "by-url",
    "a.b": "literal",
    a: { b: "path", c: { d: 42 }, list: ["first"] },
    nothing: null,
    text: "abc",
  };

  test.each([
    ["workspace", "acme"],
    ["https://claims.example/org.id", "by-url"],
    ["a.c.d", 42],
    ["a.c", { d: 42 }],
    ["a.list.0", "first"],
    ["nothing", null],
  ])("%s finds %j", (name, value) => {
    expect(resolveClaim(claims, name)).toEqual(value);
  });

  test("a literal name wins over a path", () => {
    expect(resolveClaim(claims, "a.b")).toBe("literal");
  });

  test.each([
    "absent",
    "a.absent",
    "a.b.c",
    "nothing.more",
    "text.length",
    "text.0",
    "",
    ".",
    "a.",
    ".a",
    "a..c",
    "A.c",
    ...INHERITED,
    ...INHERITED.map((name) => `a.${name}`),
    "constructor.name",
    "__proto__.constructor",
    "a.c.constructor.prototype",
  ])("%j finds nothing", (name) => {
    expect(resolveClaim(claims, name)).toBeUndefined();
  });

  test("claims of such names are found where the token really has them", () => {
    const own = JSON.parse('{"__proto__":{"workspace":"acme"},"constructor":"own"}') as object;
    expect(resolveClaim({ ...own }, "constructor")).toBe("own");
    expect(resolveClaim({ ...own }, "workspace")).toBeUndefined();
  });

  test("every path that can be written leads to what was put there", () => {
    const member = fc.string({ minLength: 1 }).map((text) => text.replaceAll(".", "_"));
    const paths = fc.array(member, { minLength: 1, maxLength: 5 });
    fc.assert(
      fc.property(paths, fc.jsonValue(), (path, value) => {
        const nested = path.reduceRight<unknown>(
          (inner, name) => Object.fromEntries([[name, inner]]),
          value,
        );
        expect(resolveClaim(nested as Record<string, unknown>, path.join("."))).toBe(value);
      }),
    );
  });

  test("in whatever claims, nothing is found that the token does not say", () => {
    const names = fc.oneof(
      fc.string(),
      fc
        .array(fc.constantFrom("a", "b", "0", "length", ...INHERITED))
        .map((path) => path.join(".")),
    );
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue()), names, (claims, name) => {
        const found = resolveClaim(claims, name);
        // A list's length is its own, though the token does not write it.
        fc.pre(!name.endsWith("length"));
        const said = found === undefined || JSON.stringify(claims).includes(JSON.stringify(found));
        expect(said).toBe(true);
        expect(typeof found).not.toBe("function");
      }),
    );
  });
});

describe("a claim as a key of the workspace table", () => {
  test.each([
    ["acme", "acme"],
    ["", ""],
    ["42", "42"],
    [42, "42"],
    [0, "0"],
    [-1, "-1"],
    [1e3, "1000"],
    [Number.MAX_SAFE_INTEGER, "9007199254740991"],
  ])("%j is %j", (claim, key) => {
    expect(parseWorkspaceClaim(claim)).toBe(key);
  });

  test.each([
    undefined,
    null,
    true,
    4.2,
    Number.NaN,
    Number.POSITIVE_INFINITY,
    // Two ids that are not the same would read as the same.
    Number.MAX_SAFE_INTEGER + 1,
    {},
    { toString: () => "acme" },
    [],
    ["acme"],
  ])("%j is none", (claim) => {
    expect(parseWorkspaceClaim(claim)).toBeUndefined();
  });
});
