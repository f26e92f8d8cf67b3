import * as fc from "fast-check";
import { describe, expect, test } from "vitest";

import {
  compilePolicies,
  compilePolicy,
  describeLimit,
  describeRefusal,
  type LimitStatus,
  renderLimitHeaders,
} from "./limit-policy.ts";

/** Every limit that the configuration accepts. */
const quota = fc
  .record({
    quota: fc.integer({ min: 1, max: 9_999_999 }),
    windowSeconds: fc.integer({ min: 1, max: 8_639_913_600 }),
    burst: fc.integer({ min: 1, max: 9_999_999 }),
  })
  .filter(({ quota, windowSeconds, burst }) => (windowSeconds / quota) * burst <= 315_360_000);

test("a policy never lets more through per window than its quota, and exactly its burst at once", () => {
  fc.assert(
    fc.property(quota, (setting) => {
      const policy = compilePolicy("session", setting);
      if (policy === undefined) throw new Error("the limit is on");
      expect(Number.isSafeInteger(policy.intervalUs)).toBe(true);
      expect(policy.intervalUs * setting.quota).toBeGreaterThanOrEqual(
        setting.windowSeconds * 1_000_000,
      );
      expect(policy.toleranceUs / policy.intervalUs).toBe(setting.burst);
    }),
    { numRuns: 2_000 },
  );
});

test("the wait that is told is the wait that is needed: never too short, never a second too long", () => {
  fc.assert(
    fc.property(quota, fc.nat(1_000_000), fc.nat(999_999), (setting, used, partUs) => {
      const policy = compilePolicy("session", setting);
      if (policy === undefined) throw new Error("the limit is on");
      const nowUs = 1_800_000_000_000_000;
      const spent = Math.min(used, setting.burst);
      const tatUs =
        nowUs + Math.max(spent * policy.intervalUs - Math.min(partUs, policy.intervalUs - 1), 0);
      const { remaining, resetSeconds } = describeLimit(policy, tatUs, nowUs);
      const allowedAt = (atUs: number, count: number) =>
        Math.max(tatUs, atUs) + count * policy.intervalUs - atUs <= policy.toleranceUs;

      if (remaining > 0) expect(allowedAt(nowUs, remaining)).toBe(true);
      expect(allowedAt(nowUs, remaining + 1)).toBe(false);
      if (remaining < setting.burst) {
        expect(resetSeconds).toBeGreaterThanOrEqual(1);
        expect(allowedAt(nowUs + resetSeconds * 1_000_000, remaining + 1)).toBe(true);
        expect(allowedAt(nowUs + (resetSeconds - 1) * 1_000_000 - 1, remaining + 1)).toBe(false);
      } else {
        expect(resetSeconds).toBe(0);
      }
    }),
    { numRuns: 2_000 },
  );
});

test("limits that are off are not there", () => {
  const on = { quota: 1, windowSeconds: 60, burst: 1 };
  const policies = compilePolicies({ session: on, sessionDaily: "off", workspace: "off", ip: on });
  expect(policies.map(({ name }) => name)).toEqual(["session", "ip"]);
});

function standing(
  policy: LimitStatus["policy"],
  remaining: number,
  resetSeconds: number,
): LimitStatus {
  return { policy, remaining, resetSeconds };
}

describe("what a client is told", () => {
  const quota = { quota: 20, windowSeconds: 60, burst: 20 };
  const [session, workspace, ip] = compilePolicies({
    session: quota,
    sessionDaily: "off",
    workspace: { quota: 600, windowSeconds: 60, burst: 600 },
    ip: quota,
  });
  if (session === undefined || workspace === undefined || ip === undefined)
    throw new Error("limits are on");

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
});
