import * as fc from "fast-check";
import { describe, expect, test } from "vitest";

import type { Subject } from "../branded.ts";
import { createSessionCache } from "./authenticate.ts";
import type { Session } from "./session.ts";

const sessionOf = (subject: string): Session => ({
  subject: subject as Subject,
  subjectKey: subject,
  subjectHash: subject,
  workspaceClaim: undefined,
  expiresAtMs: 0,
  tokenExpiresAtMs: 0,
  sessionKey: "session",
  hasSiblings: false,
  issuedAtMs: undefined,
  chats: undefined,
  variableClaims: new Map(),
  variables: {},
  via: "bearer",
});

describe("a cached session", () => {
  test("is found under its own digest only", () => {
    const cache = createSessionCache(10);
    const alice = sessionOf("alice");
    cache.add("a", alice, 1_000);
    expect(cache.find("a", 0)).toBe(alice);
    expect(cache.find("b", 0)).toBeUndefined();
    expect(cache.find("constructor", 0)).toBeUndefined();
    expect(cache.find("__proto__", 0)).toBeUndefined();
  });

  test("is valid before its expiry, and not at it", () => {
    const cache = createSessionCache(10);
    cache.add("a", sessionOf("alice"), 1_000);
    expect(cache.find("a", 999)).toBeDefined();
    expect(cache.find("a", 1_000)).toBeUndefined();
  });

  test("is removed after its expiry, even if the clock is set back", () => {
    const cache = createSessionCache(10);
    cache.add("a", sessionOf("alice"), 1_000);
    cache.find("a", 1_000);
    expect(cache.find("a", 0)).toBeUndefined();
  });

  test("does not live longer when it is used", () => {
    const cache = createSessionCache(10);
    cache.add("a", sessionOf("alice"), 1_000);
    for (let nowMs = 0; nowMs < 1_000; nowMs += 100) expect(cache.find("a", nowMs)).toBeDefined();
    expect(cache.find("a", 1_000)).toBeUndefined();
  });

  test("that has already expired when it is added is never found", () => {
    const cache = createSessionCache(10);
    cache.add("a", sessionOf("alice"), 1_000);
    expect(cache.find("a", 5_000)).toBeUndefined();
  });
});

describe("the bound", () => {
  test("drops the least recently used entry, not the oldest", () => {
    const cache = createSessionCache(2);
    cache.add("a", sessionOf("alice"), 1_000);
    cache.add("b", sessionOf("bob"), 1_000);
    cache.find("a", 0);
    cache.add("c", sessionOf("carol"), 1_000);
    expect(cache.find("b", 0)).toBeUndefined();
    expect(cache.find("a", 0)?.subject).toBe("alice");
    expect(cache.find("c", 0)?.subject).toBe("carol");
  });

  test("holds under a flood of tokens, and active sessions stay", () => {
    const cache = createSessionCache(100);
    cache.add("active", sessionOf("alice"), 1_000);
    for (let index = 0; index < 10_000; index += 1) {
      cache.add(`flood-${index}`, sessionOf("mallory"), 1_000);
      expect(cache.find("active", 0)?.subject).toBe("alice");
    }
    const kept = Array.from({ length: 10_000 }, (_, index) => cache.find(`flood-${index}`, 0));
    expect(kept.filter((session) => session !== undefined)).toHaveLength(99);
  });

  test("is never exceeded and keeps the latest entries, in any order of use", () => {
    const digest = fc.constantFrom("a", "b", "c", "d", "e", "f");
    const steps = fc.array(fc.record({ adds: fc.boolean(), digest }), { maxLength: 60 });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 4 }), steps, (sizeMax, uses) => {
        const cache = createSessionCache(sizeMax);
        // The digests that must be there, the least recently used first.
        let model: string[] = [];
        for (const { adds, digest: used } of uses) {
          const found = cache.find(used, 0)?.subject;
          expect(found).toBe(model.includes(used) ? used : undefined);
          if (!adds && found === undefined) continue;
          if (adds && found === undefined) cache.add(used, sessionOf(used), 1_000);
          model = [...model.filter((known) => known !== used), used].slice(-sizeMax);
        }
      }),
    );
  });
});
