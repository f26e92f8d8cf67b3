import * as fc from "fast-check";
import { expect, test } from "vitest";

import { compilePolicies, compilePolicy, describeLimit } from "./limit-policy.ts";

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
