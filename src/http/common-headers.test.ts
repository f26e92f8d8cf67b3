import { expect, test } from "vitest";

import { createCommonHeaders } from "./common-headers.ts";

const COMMON_HEADERS = createCommonHeaders(false);

test("every answer forbids caching, sniffing, framing, embedding, referring and plain http", () => {
  expect(COMMON_HEADERS).toEqual({
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Strict-Transport-Security": expect.stringMatching(/^max-age=[1-9]\d{7,}$/) as string,
  });
});

test("plain-http development is not locked into https", () => {
  expect(createCommonHeaders(true)).not.toHaveProperty("Strict-Transport-Security");
});

test("no answer can change them for later ones, and none names the server software", () => {
  expect(Object.isFrozen(COMMON_HEADERS)).toBe(true);
  const names = Object.keys(COMMON_HEADERS).map((name) => name.toLowerCase());
  expect(names).not.toContain("server");
  expect(names).not.toContain("x-powered-by");
});
