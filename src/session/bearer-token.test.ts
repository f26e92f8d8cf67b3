import { readFileSync } from "node:fs";

import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { z } from "zod";

import { parseBearerToken, TOKEN_BYTES_MAX } from "./authenticate.ts";

const TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl-_";

const { headers } = z
  .strictObject({
    about: z.string(),
    headers: z.array(
      z.strictObject({
        name: z.string(),
        header: z.string().nullable(),
        kind: z.enum(["token", "missing", "malformed"]),
      }),
    ),
  })
  .parse(
    JSON.parse(
      readFileSync(new URL("../../test/data/bearer-headers.json", import.meta.url), "utf8"),
    ),
  );

describe("the forms of the header", () => {
  test.each(headers)("$kind: $name", ({ header, kind }) => {
    const expected = kind === "token" ? { kind, token: TOKEN } : { kind };
    expect(parseBearerToken(header?.replaceAll("{token}", TOKEN) ?? null)).toEqual(expected);
  });

  test("two headers, joined as the platform does it, are never one of the two", () => {
    const request = new Headers();
    request.append("Authorization", `Bearer ${TOKEN}`);
    request.append("Authorization", "Bearer a.b.c");
    expect(parseBearerToken(request.get("authorization"))).toEqual({ kind: "malformed" });
  });
});

const tokenOf = (chars: number) => `a.${"b".repeat(chars - 4)}.c`;

describe("the length of a token", () => {
  test("is 8 KiB at most, without the scheme and its spaces", () => {
    const longest = tokenOf(8_192);
    expect(TOKEN_BYTES_MAX).toBe(8_192);
    for (const scheme of ["Bearer ", "Bearer      "]) {
      expect(parseBearerToken(scheme + longest)).toEqual({ kind: "token", token: longest });
      expect(parseBearerToken(scheme + tokenOf(8_193))).toEqual({ kind: "malformed" });
    }
  });
});

test("for any header, a parsed token is three base64url parts at its end", () => {
  const near = fc
    .tuple(
      fc.constantFrom("Bearer", "bearer", "Basic", ""),
      fc.constantFrom(" ", "", "\t", "  ", ", ", ":"),
      fc.stringMatching(/^[A-Za-z0-9_.=+/, -]{0,20}$/),
    )
    .map((parts) => parts.join(""));
  fc.assert(
    fc.property(fc.oneof(fc.string({ unit: "binary" }), near), (header) => {
      const result = parseBearerToken(header);
      const token = result.kind === "token" ? result.token : "a.b.c";
      const rest = result.kind === "token" ? header.slice(0, -token.length) : "Bearer ";
      expect(token.split(".")).toHaveLength(3);
      expect(token).toMatch(/^[\w.-]+$/);
      expect(rest.toLowerCase().trimEnd()).toBe("bearer");
      expect(rest).toMatch(/ $/);
    }),
    { numRuns: 1_000 },
  );
});
