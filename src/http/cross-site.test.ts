import { describe, expect, test } from "vitest";

import { createCorsHeaders, createPreflightHeaders, isTrustedSource } from "./cross-site.ts";

const LISTED = "https://www.example.com";
const FOREIGN = "https://evil.example";
const HOST = "chat.example.com";
const rules = { allowedOrigins: new Set([LISTED, "capacitor://localhost"]), insecure: false };

/** Every origin that a request can name, and what it is to us. */
const origins = {
  none: null,
  own: `https://${HOST}`,
  "own over http": `http://${HOST}`,
  "own on another port": `https://${HOST}:8443`,
  listed: LISTED,
  "listed app": "capacitor://localhost",
  "listed in another case": "https://WWW.example.com",
  "listed with a slash": `${LISTED}/`,
  "listed as a suffix": "https://www.example.com.evil.example",
  "listed as a prefix": "https://notwww.example.com",
  "listed, twice": `${LISTED}, ${LISTED}`,
  sibling: "https://shop.example.com",
  foreign: FOREIGN,
  opaque: "null",
  empty: "",
};

const trustedAnyway = new Set(["listed", "listed app"]);

/** Without Sec-Fetch-Site the origin decides; with it, our own origin does only as same-origin. */
function expectation(secFetchSite: string | null, origin: string): boolean {
  if (secFetchSite === "same-origin") return true;
  if (trustedAnyway.has(origin)) return true;
  return secFetchSite === null && origin === "own";
}

describe.each([
  null,
  "same-origin",
  "same-site",
  "cross-site",
  "none",
  "",
  "same-origin, none",
  "SAME-ORIGIN",
])("with Sec-Fetch-Site %s", (secFetchSite) => {
  test.each(Object.entries(origins))("an origin that is %s", (name, origin) => {
    expect(isTrustedSource({ secFetchSite, origin, host: HOST }, rules)).toBe(
      expectation(secFetchSite, name),
    );
  });
});

test("without a Host nothing is our own", () => {
  const source = { secFetchSite: null, origin: "https://", host: null };
  expect(isTrustedSource(source, rules)).toBe(false);
  expect(isTrustedSource({ ...source, origin: "https://null" }, rules)).toBe(false);
});

test("in plain-http development our own origin is http, and https is not", () => {
  const insecure = { ...rules, insecure: true };
  const own = { secFetchSite: null, host: "localhost:8787" };
  expect(isTrustedSource({ ...own, origin: "http://localhost:8787" }, insecure)).toBe(true);
  expect(isTrustedSource({ ...own, origin: "https://localhost:8787" }, insecure)).toBe(false);
});

describe("CORS headers", () => {
  test("are for listed origins alone, by their exact name", () => {
    expect(createCorsHeaders(LISTED, rules.allowedOrigins)).toEqual({
      "Access-Control-Allow-Origin": LISTED,
      "Access-Control-Allow-Credentials": "true",
      "Access-Control-Expose-Headers":
        "X-Request-Id, Retry-After, RateLimit, RateLimit-Policy, Idempotency-Replayed, Message-Recovered, Location",
      Vary: "Origin",
    });
  });

  test.each(
    Object.values(origins).filter((origin) => origin === null || !rules.allowedOrigins.has(origin)),
  )("are not for %s, and caches are told that it matters", (origin) => {
    expect(createCorsHeaders(origin, rules.allowedOrigins)).toEqual({ Vary: "Origin" });
    expect(createPreflightHeaders(origin ?? "", rules.allowedOrigins, "POST")).toEqual({});
  });

  test("are nowhere where no origin is listed", () => {
    expect(createCorsHeaders(FOREIGN, new Set())).toEqual({});
  });
});
