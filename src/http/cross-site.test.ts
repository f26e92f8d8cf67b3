import { describe, expect, test } from "vitest";

import { createCorsHeaders, createPreflightHeaders, isTrustedSource } from "./cross-site.ts";

const LISTED = "https://www.example.com";
const FOREIGN = "https://evil.example";
const HOST = "chat.example.com";
const rules = { allowedOrigins: new Set([LISTED, "capacitor://localhost"]), insecure: false };

/** Origins that a request can have, by their relation to this service. */
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

/**
 * Without Sec-Fetch-Site the origin decides. With it, the own origin is trusted only as
 * same-origin.
 */
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

describe("the own origin, from old browsers without Sec-Fetch-Site", () => {
  test.each([
    ["name:443", "https://name"],
    ["NAME:443", "https://name"],
    ["Chat.Example.COM", "https://chat.example.com"],
    ["name:8443", "https://name:8443"],
    ["name:80", "https://name:80"],
    ["name:", "https://name"],
    ["[2001:DB8:0:0::1]:443", "https://[2001:db8::1]"],
    ["[::1]:8443", "https://[::1]:8443"],
    ["192.0.2.7:443", "https://192.0.2.7"],
    ["under_score.example", "https://under_score.example"],
  ])("is for the host %s the origin %s", (host, origin) => {
    const source = { secFetchSite: null, origin, host };
    expect(isTrustedSource(source, rules)).toBe(true);
    expect(isTrustedSource({ ...source, origin: origin.replace("s:", ":") }, rules)).toBe(false);
  });

  test.each([
    ["localhost:80", "http://localhost"],
    ["LOCALHOST", "http://localhost"],
    ["localhost:443", "http://localhost:443"],
    ["[::1]:80", "http://[::1]"],
  ])("is for the host %s over plain http the origin %s", (host, origin) => {
    const insecure = { ...rules, insecure: true };
    expect(isTrustedSource({ secFetchSite: null, origin, host }, insecure)).toBe(true);
  });

  test.each([
    ["name", "https://name:443"],
    ["name:443", "https://name:443"],
    ["name", "https://NAME"],
    ["name:80", "https://name"],
    ["name:8443", "https://name"],
    ["name", "https://name:8443"],
    ["other@name", "https://name"],
    ["name/path", "https://name"],
    ["name?query", "https://name"],
    ["name#part", "https://name"],
    ["name\\path", "https://name"],
    ["name, other", "https://name"],
    ["%6eame", "https://name"],
    ["name:443:443", "https://name"],
    ["name:99999", "https://name:99999"],
    ["[::1", "https://[::1]"],
    ["::1", "https://[::1]"],
    ["", "https://"],
    [":443", "https://"],
    ["null", "null"],
    [`${"a.".repeat(130)}a`, `https://${"a.".repeat(130)}a`],
  ])("is for the host %j not the origin %j", (host, origin) => {
    expect(isTrustedSource({ secFetchSite: null, origin, host }, rules)).toBe(false);
  });
});

test("without a Host no origin is the own one", () => {
  const source = { secFetchSite: null, origin: "https://", host: null };
  expect(isTrustedSource(source, rules)).toBe(false);
  expect(isTrustedSource({ ...source, origin: "https://null" }, rules)).toBe(false);
});

test("in plain-http development the own origin is http, not https", () => {
  const insecure = { ...rules, insecure: true };
  const own = { secFetchSite: null, host: "localhost:8787" };
  expect(isTrustedSource({ ...own, origin: "http://localhost:8787" }, insecure)).toBe(true);
  expect(isTrustedSource({ ...own, origin: "https://localhost:8787" }, insecure)).toBe(false);
});

describe("CORS headers", () => {
  test("are for listed origins only, by exact match", () => {
    expect(createCorsHeaders(LISTED, rules.allowedOrigins)).toEqual({
      "Access-Control-Allow-Origin": LISTED,
      "Access-Control-Allow-Credentials": "true",
      "Access-Control-Expose-Headers":
        "X-Request-Id, Retry-After, RateLimit, RateLimit-Policy, Idempotency-Replayed, Message-Recovered, Preference-Applied, Location",
      Vary: "Origin",
    });
  });

  test("of a preflight let a page's tracing library send its headers", () => {
    const { "Access-Control-Allow-Headers": allowed = "" } = createPreflightHeaders(
      LISTED,
      rules.allowedOrigins,
      "POST",
    );
    expect(allowed.split(", ")).toEqual([
      "Authorization",
      "Content-Type",
      "Idempotency-Key",
      "Prefer",
      "X-Request-Id",
      "traceparent",
      "tracestate",
      "baggage",
      "sentry-trace",
    ]);
  });

  test.each(
    Object.values(origins).filter((origin) => origin === null || !rules.allowedOrigins.has(origin)),
  )("are not for %s, and caches are told that it matters", (origin) => {
    expect(createCorsHeaders(origin, rules.allowedOrigins)).toEqual({ Vary: "Origin" });
    expect(createPreflightHeaders(origin ?? "", rules.allowedOrigins, "POST")).toEqual({});
  });

  test("are absent if no origin is listed", () => {
    expect(createCorsHeaders(FOREIGN, new Set())).toEqual({});
  });
});
