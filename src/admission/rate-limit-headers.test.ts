import { expect, test } from "vitest";

import { compilePolicies, type LimitStatus } from "./limit-policy.ts";
import { describeRefusal, renderLimitHeaders } from "./rate-limit-headers.ts";

const quota = { quota: 20, windowSeconds: 60, burst: 20 };
const [session, workspace, ip] = compilePolicies({
  session: quota,
  sessionDaily: "off",
  workspace: { quota: 600, windowSeconds: 60, burst: 600 },
  ip: quota,
});
if (session === undefined || workspace === undefined || ip === undefined)
  throw new Error("limits are on");

function standing(
  policy: LimitStatus["policy"],
  remaining: number,
  resetSeconds: number,
): LimitStatus {
  return { policy, remaining, resetSeconds };
}

test("the policy closest to refusing comes first, in both headers; the longer wait breaks a tie", () => {
  const limits = [standing(session, 3, 9), standing(workspace, 0, 1), standing(ip, 0, 30)];
  expect(renderLimitHeaders(limits)).toEqual({
    "RateLimit-Policy": '"ip";q=20;w=60, "workspace";q=600;w=60, "session";q=20;w=60',
    RateLimit: '"ip";r=0;t=30, "workspace";r=0;t=1, "session";r=3;t=9',
  });
});

test("no limits, no headers", () => {
  expect(renderLimitHeaders([])).toEqual({});
});

test("a refusal names exactly the limits that refuse, and the longest of their waits", () => {
  const limits = [standing(session, 0, 4), standing(workspace, 7, 90), standing(ip, 0, 30)];
  expect(describeRefusal(limits)).toEqual({
    retryAfterSeconds: 30,
    violatedPolicies: ["session", "ip"],
  });
});
