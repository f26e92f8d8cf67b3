import { expect } from "vitest";

/** The headers of every answer. */
export const COMMON_HEADERS = {
  "cache-control": "no-store",
  "x-content-type-options": "nosniff",
  "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
  "referrer-policy": "no-referrer",
  "cross-origin-resource-policy": "same-origin",
  "strict-transport-security": expect.stringMatching(/^max-age=\d+$/),
  "x-request-id": expect.stringMatching(/^[A-Za-z0-9_-]{1,64}$/),
};
