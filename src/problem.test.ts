import { describe, expect, test } from "vitest";
import { z } from "zod";

import {
  isProblemCode,
  Problem,
  type ProblemCode,
  problemCodes,
  problemStatus,
} from "./problem.ts";

/** The error table of the contract. */
const STATUSES: Record<ProblemCode, number> = {
  invalid_request: 400,
  session_missing: 401,
  session_invalid: 401,
  session_expired: 401,
  session_revoked: 401,
  workspace_unmapped: 403,
  cross_site_request: 403,
  not_found: 404,
  chat_not_found: 404,
  method_not_allowed: 405,
  request_timeout: 408,
  chat_busy: 409,
  request_in_progress: 409,
  chat_ended: 409,
  content_too_large: 413,
  unsupported_media_type: 415,
  idempotency_key_reused: 422,
  message_rejected: 422,
  rate_limited: 429,
  internal_error: 500,
  upstream_error: 502,
  upstream_unreachable: 502,
  upstream_malformed: 502,
  upstream_auth_failed: 502,
  upstream_busy: 503,
  upstream_unavailable: 503,
  overloaded: 503,
  state_unavailable: 503,
  auth_unavailable: 503,
  shutting_down: 503,
  upstream_timeout: 504,
  outcome_unknown: 504,
};

const bodySchema = z.strictObject({
  type: z.string(),
  title: z.string().min(1),
  status: z.int(),
  detail: z.string(),
  instance: z.string(),
  code: z.string(),
});

const bodyOf = (problem: Problem, instance = "id-1"): unknown => JSON.parse(problem.body(instance));

describe("the catalogue", () => {
  test("is the contract's, code by code", () => {
    const actual = problemCodes.map((code) => [code, problemStatus(code)]);
    expect(Object.fromEntries(actual)).toEqual(STATUSES);
  });

  test.each(problemCodes)("%s has the members of RFC 9457 and no others", (code) => {
    const body = bodySchema.parse(bodyOf(new Problem(code)));
    expect(body).toMatchObject({
      type: `urn:uponai-bff:problem:${code}`,
      status: STATUSES[code],
      instance: "id-1",
      code,
    });
  });

  test.each(problemCodes)("%s says in one sentence what to do about it", (code) => {
    const { detail, title } = bodySchema.parse(bodyOf(new Problem(code)));
    expect(detail).toMatch(/^[A-Z][^.]*\.$/);
    expect(title).not.toMatch(/\.$/);
  });

  test("knows its codes, and no inherited member", () => {
    expect(problemCodes.every(isProblemCode)).toBe(true);
    for (const text of ["", "constructor", "toString", "__proto__", "Rate_Limited", "teapot"]) {
      expect(isProblemCode(text)).toBe(false);
    }
  });
});

describe("headers", () => {
  test.each(problemCodes)("%s is application/problem+json", (code) => {
    expect(new Problem(code).headers()["Content-Type"]).toBe("application/problem+json");
  });

  test("only a 401 asks for credentials, with an error code unless none were sent", () => {
    const asking = problemCodes.flatMap((code) => {
      const header = new Problem(code).headers()["WWW-Authenticate"];
      return header === undefined ? [] : [[code, header]];
    });
    expect(Object.fromEntries(asking)).toEqual({
      session_missing: "Bearer",
      session_invalid: 'Bearer error="invalid_token"',
      session_expired: 'Bearer error="invalid_token"',
      session_revoked: 'Bearer error="invalid_token"',
    });
  });

  test("each 503 has Retry-After; other codes have it only if it is set", () => {
    for (const code of problemCodes) {
      const expected = STATUSES[code] === 503 ? "1" : undefined;
      expect(new Problem(code).headers()["Retry-After"]).toBe(expected);
    }
  });

  test("a given wait and further headers are included", () => {
    const headers = { RateLimit: '"session";r=0;t=9' };
    const problem = new Problem("rate_limited", { retryAfterSeconds: 9, headers });
    expect(problem.headers()).toEqual({
      "Content-Type": "application/problem+json",
      "Retry-After": "9",
      ...headers,
    });
    expect(new Problem("upstream_busy", { retryAfterSeconds: 60 }).headers()["Retry-After"]).toBe(
      "60",
    );
  });

  test("changing the headers of one answer changes no other", () => {
    const problem = new Problem("not_found");
    problem.headers()["X-Extra"] = "1";
    expect(problem.headers()).not.toHaveProperty("X-Extra");
  });
});

describe("extras in the body", () => {
  test("faults and violated limits are included if there are any", () => {
    const errors = [{ pointer: "/content", detail: "must be a string" }];
    const faulty = bodyOf(new Problem("invalid_request", { errors }));
    expect(faulty).toMatchObject({ errors });
    expect(faulty).not.toHaveProperty("violated-policies");
    const limited = bodyOf(new Problem("rate_limited", { violatedPolicies: ["session", "ip"] }));
    expect(limited).toMatchObject({ "violated-policies": ["session", "ip"] });
    expect(limited).not.toHaveProperty("errors");
  });

  test("another detail replaces the catalogue's for this one answer", () => {
    const special = bodyOf(new Problem("invalid_request", { detail: "Use a chat id." }));
    expect(special).toMatchObject({ detail: "Use a chat id." });
    expect(bodyOf(new Problem("invalid_request"))).not.toMatchObject({ detail: "Use a chat id." });
  });

  test("the same problem answers each request with that request's id", () => {
    const problem = new Problem("chat_ended");
    expect(bodyOf(problem, "first")).toMatchObject({ instance: "first" });
    expect(bodyOf(problem, "second")).toMatchObject({ instance: "second" });
  });

  test("the stack is in no answer", () => {
    const problem = new Problem("internal_error");
    expect(problem).toBeInstanceOf(Error);
    const answered = problem.body("id-1") + JSON.stringify(problem.headers());
    expect(answered).not.toContain("problem.test");
    expect(answered).not.toContain("stack");
  });
});
