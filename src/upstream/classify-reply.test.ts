import * as fc from "fast-check";
import { describe, expect, test } from "vitest";

import { classifyReply } from "./classify-reply.ts";
import type { UpstreamReply } from "./transport.ts";

const NOW_MS = Date.parse("2026-04-20T12:00:00Z");

const answer = (status: number, retryAfter?: string): UpstreamReply => ({
  kind: "answer",
  status,
  retryAfter,
  body: "",
});
const waitOf = (status: number, retryAfter?: string) =>
  classifyReply(answer(status, retryAfter), NOW_MS).retryAfterSeconds;

describe("what happened on the way", () => {
  test.each<[UpstreamReply, object]>([
    [
      { kind: "not_sent", reason: "connect" },
      { code: "upstream_unreachable", disposition: "not_taken" },
    ],
    [
      { kind: "not_sent", reason: "connect_timeout" },
      { code: "upstream_unreachable", disposition: "not_taken" },
    ],
    [
      { kind: "timeout", sent: false },
      { code: "upstream_timeout", disposition: "not_taken" },
    ],
    [
      { kind: "timeout", sent: true },
      { code: "upstream_timeout", disposition: "unknown" },
    ],
    [{ kind: "lost" }, { code: "outcome_unknown", disposition: "unknown" }],
    [{ kind: "unusable" }, { code: "upstream_malformed", disposition: "unknown" }],
  ])("%j is %j", (reply, failure) => {
    expect(classifyReply(reply, NOW_MS)).toEqual(failure);
  });
});

describe("a status", () => {
  test("means one thing, whichever it is", () => {
    fc.assert(
      fc.property(fc.integer({ min: 100, max: 599 }), fc.boolean(), (status, waits) => {
        const { code, disposition } = classifyReply(
          answer(status, waits ? "5" : undefined),
          NOW_MS,
        );
        const expected = (() => {
          if (status === 429 || (status === 503 && waits)) return "upstream_busy not_taken";
          if ([401, 403].includes(status)) return "upstream_auth_failed not_taken";
          if (status === 404) return "chat_not_found not_taken";
          if ([400, 422].includes(status)) return "message_rejected taken";
          if ([409, 410].includes(status)) return "chat_ended taken";
          return status < 400 ? "upstream_malformed unknown" : "upstream_error unknown";
        })();
        expect(`${code} ${disposition}`).toBe(expected);
      }),
      { numRuns: 2_000 },
    );
  });
});

function typed(status: number, contentType: string | undefined, retryAfter?: string): string {
  const reply: UpstreamReply = { kind: "answer", status, retryAfter, contentType, body: "" };
  const { code, disposition } = classifyReply(reply, NOW_MS);
  return `${code} ${disposition}`;
}

describe("a page of a proxy on the way", () => {
  const PAGES = [
    "text/html",
    "text/html; charset=utf-8",
    "TEXT/HTML;charset=UTF-8",
    " text/html , application/json",
    "application/xhtml+xml",
    "application/xml",
    "application/octet-stream",
    "json",
    "application/jsonp",
    "text/html+json/application/json ",
  ];
  const OWN = [
    undefined,
    "",
    ";charset=utf-8",
    "application/json",
    "Application/JSON; charset=utf-8",
    "application/problem+json",
    "text/json",
    "text/plain; charset=utf-8",
  ];

  test.each([400, 401, 403, 404, 405, 409, 410, 413, 418, 422, 499])(
    "with status %i is malformed and of unknown outcome, and no refusal of UponAI's",
    (status) => {
      for (const type of PAGES) expect(typed(status, type)).toBe("upstream_malformed unknown");
      for (const type of OWN) expect(typed(status, type)).toBe(typed(status, undefined));
      expect(typed(status, undefined)).not.toContain("malformed");
    },
  );

  test("with 429 still means that it is too much: a proxy does not pass on what it limits", () => {
    for (const type of PAGES) expect(typed(429, type)).toBe("upstream_busy not_taken");
  });

  test("with 503 and Retry-After may come after UponAI took the request", () => {
    for (const type of PAGES) expect(typed(503, type, "5")).toBe("upstream_error unknown");
    for (const type of OWN) expect(typed(503, type, "5")).toBe("upstream_busy not_taken");
  });
});

describe("a wait", () => {
  test.each([
    ["0", 1],
    ["1", 1],
    ["60", 60],
    ["61", 60],
    ["0005", 5],
    ["99999999999999999999", 60],
    ["Mon, 20 Apr 2026 12:00:30 GMT", 30],
    ["Mon, 20 Apr 2026 11:00:00 GMT", 1],
    ["Mon, 20 Apr 2027 12:00:00 GMT", 60],
    ["Monday, 20-Apr-26 12:00:30 GMT", 30],
    ["Mon Apr 20 12:00:30 2026", 30],
  ])("of %s is %i seconds", (retryAfter, seconds) => {
    expect(waitOf(503, retryAfter)).toBe(seconds);
    expect(waitOf(429, retryAfter)).toBe(seconds);
  });

  test.each(["", "soon", "-1", "1.5", "1e3", "0x10", " 5", "5s", "2026-04-20T12:00:30Z", "1, 2"])(
    "of %j is none that UponAI named",
    (retryAfter) => {
      expect(classifyReply(answer(503, retryAfter), NOW_MS)).toEqual({
        code: "upstream_error",
        disposition: "unknown",
      });
      expect(waitOf(429, retryAfter)).toBe(1);
    },
  );

  test("is told with no other refusal", () => {
    for (const status of [400, 401, 404, 409, 500, 502, 302]) {
      expect(waitOf(status, "5")).toBeUndefined();
    }
  });

  test("is 1 to 60 whole seconds or none, whatever the header says", () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.bigInt().map(String), fc.date().map(String)), (text) => {
        const seconds = waitOf(503, text);
        if (seconds === undefined) return;
        expect(Number.isInteger(seconds)).toBe(true);
        expect(seconds).toBeGreaterThanOrEqual(1);
        expect(seconds).toBeLessThanOrEqual(60);
      }),
    );
  });
});
