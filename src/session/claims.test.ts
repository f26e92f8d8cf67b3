import * as fc from "fast-check";
import { describe, expect, test } from "vitest";

import {
  mapVariables,
  parseWorkspaceClaim,
  resolveVariableClaims,
  resolveClaim,
} from "./claims.ts";

const INHERITED = ["constructor", "__proto__", "toString", "hasOwnProperty", "valueOf"];

describe("resolving a claim", () => {
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

  test("finds the organisation in tokens of providers as docs/sessions.md names it", () => {
    // Clerk's session token of version 2; Keycloak's user attribute mapper, and its group mapper.
    const tokens: [string, object, string | undefined][] = [
      ["o.id", { v: 2, o: { id: "org_1", rol: "admin", slg: "acme" } }, "org_1"],
      ["workspace", { workspace: "acme" }, "acme"],
      ["groups", { groups: ["/acme"] }, undefined],
    ];
    for (const [name, token, workspace] of tokens) {
      expect(parseWorkspaceClaim(resolveClaim({ ...token }, name))).toBe(workspace);
    }
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

  test("a dot path finds the value that is stored there", () => {
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

  test("nothing is found that is not in the token, for any claims", () => {
    const names = fc.oneof(
      fc.string(),
      fc
        .array(fc.constantFrom("a", "b", "0", "length", ...INHERITED))
        .map((path) => path.join(".")),
    );
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue()), names, (claims, name) => {
        const found = resolveClaim(claims, name);
        // The length of a list is an own member, although the token does not contain it.
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
    // Two different ids would become the same text.
    Number.MAX_SAFE_INTEGER + 1,
    {},
    { toString: () => "acme" },
    [],
    ["acme"],
  ])("%j is none", (claim) => {
    expect(parseWorkspaceClaim(claim)).toBeUndefined();
  });
});

describe("claims that become variables", () => {
  const claims = {
    plan: "gold",
    "https://a.example/seats": 7,
    profile: { name: "Ann", trial: false, tags: ["a"], rate: 0.1 },
    huge: 2 ** 53,
    nothing: null,
  };
  const read = (...names: string[]) => Object.fromEntries(resolveVariableClaims(claims, names));

  test("are strings, numbers and booleans, as they are, found like any other claim", () => {
    expect(
      read("plan", "https://a.example/seats", "profile.name", "profile.trial", "profile.rate"),
    ).toEqual({
      plan: "gold",
      "https://a.example/seats": 7,
      "profile.name": "Ann",
      "profile.trial": false,
      "profile.rate": 0.1,
    });
  });

  test("are not objects, lists, null or integers that JSON.parse may have changed", () => {
    expect(
      read("profile", "profile.tags", "nothing", "huge", "absent", "constructor", "plan.length"),
    ).toEqual({});
  });

  test("are mapped by the name of the claim; a variable without a value still belongs to the session", () => {
    const values = new Map([["plan", "gold"]]);
    const mapping = new Map([
      ["tier", "plan"],
      ["level", "plan"],
      ["other", "absent"],
    ]);
    const mapped = mapVariables(mapping, values);
    expect(mapped).toStrictEqual({ tier: "gold", level: "gold", other: undefined });
  });

  test("take 4,096 bytes of JSON together at most, in UTF-8", () => {
    const mapping = new Map([["a", "a"]]);
    const room = 4_096 - '{"a":""}'.length;
    const map = (text: string) => mapVariables(mapping, new Map([["a", text]]));
    expect(map("x".repeat(room))).toEqual({ a: "x".repeat(room) });
    expect(map("x".repeat(room + 1))).toBe("too_large");
    expect(map("é".repeat(room / 2 + 1))).toBe("too_large");
  });
});
