import { createHash } from "node:crypto";

import * as fc from "fast-check";
import { beforeEach, describe, expect, test } from "vitest";

import type { CallOutcome, ProviderChat } from "./chat-provider.ts";
import { type SearchOutcome, searchTranscript } from "./recover-answer.ts";

const hashing = {
  digest: (text: string) => createHash("sha256").update(text).digest("base64url"),
  pseudonym: (text: string) => text,
  keyedDigest: (_key: string, text: string) => text,
};

const CALL = { status: 200, ms: 1, retries: 0 };
const STATE = { count: 0, digest: "none" };
const MESSAGE = { role: "user", content: "hi" };
const ANSWER = { role: "assistant", content: "hello" };

type Look = CallOutcome<ProviderChat>;
const seen = (...messages: object[]): Look => ({
  kind: "answered",
  answer: { chatId: "chat-1", messages },
  call: CALL,
});
const FAILED: Look = { kind: "failed", code: "upstream_error", disposition: "unknown", call: CALL };
const NOT_YET = seen(MESSAGE);
const FOUND = seen(MESSAGE, ANSWER);
const ELSEWHERE = seen({ role: "user", content: "ho" }, ANSWER);

let nowMs: number;
/** When each look was made, and how long it was given. */
let looks: { readonly atMs: number; readonly timeoutMs: number }[];

beforeEach(() => {
  nowMs = 0;
  looks = [];
});

interface Given {
  readonly windowMs?: number;
  readonly look: (count: number) => Look;
  /** How long each look takes. */
  readonly lookMs?: number;
  readonly isGivenUp?: () => boolean;
}

function search({
  windowMs = 20_000,
  look,
  lookMs = 0,
  isGivenUp = () => false,
}: Given): Promise<SearchOutcome> {
  return searchTranscript(
    {
      clock: { epochMs: () => nowMs, monotonicMs: () => nowMs },
      hashing,
      pause: (ms) => {
        nowMs += ms;
        return Promise.resolve();
      },
    },
    {
      stateBefore: STATE,
      content: "hi",
      windowMs,
      isGivenUp,
      readChat: (timeoutMs) => {
        looks.push({ atMs: nowMs, timeoutMs });
        nowMs += Math.min(lookMs, timeoutMs);
        return Promise.resolve(look(looks.length));
      },
    },
  );
}

describe("the search", () => {
  test("ends with the answer, and with how the transcript stands", async () => {
    const found = await search({ look: (count) => (count < 4 ? NOT_YET : FOUND) });
    expect(found).toMatchObject({ kind: "found", messages: [ANSWER], stateAfter: { count: 2 } });
    // And once more, after a moment: an agent may say more.
    expect(looks.map(({ atMs }) => atMs)).toEqual([0, 250, 750, 1_750, 2_000]);
  });

  test("waits until the agent has said all of it", async () => {
    const more = { ...ANSWER, content: "and more" };
    const LONGER = seen(MESSAGE, ANSWER, more);
    const found = await search({ look: (count) => (count < 2 ? FOUND : LONGER) });
    expect(found).toMatchObject({
      kind: "found",
      messages: [ANSWER, more],
      stateAfter: { count: 3 },
    });
    expect(looks).toHaveLength(3);
  });

  test("looks a second time although its time is over, but not a third", async () => {
    const found = await search({ windowMs: 1, look: () => FOUND });
    expect(found).toMatchObject({ kind: "found" });
    expect(looks).toHaveLength(2);
    looks.length = 0;
    const grown = seen(MESSAGE, ANSWER, ANSWER);
    expect(await search({ windowMs: 1, look: (count) => (count === 1 ? FOUND : grown) })).toEqual({
      kind: "not_found",
    });
    expect(looks).toHaveLength(2);
  });

  test("looks at once, and then after pauses that double up to four seconds", async () => {
    expect(await search({ look: () => NOT_YET })).toEqual({ kind: "not_found" });
    expect(looks.map(({ atMs }) => atMs)).toEqual([
      0, 250, 750, 1_750, 3_750, 7_750, 11_750, 15_750, 19_500,
    ]);
  });

  test("uses nearly all of a short window, too", async () => {
    await search({ windowMs: 1_000, look: () => NOT_YET });
    expect(looks.map(({ atMs }) => atMs)).toEqual([0, 250, 750, 900]);
  });

  test("gives one look five seconds at most, so that a hanging one does not use it all up", async () => {
    await search({ look: () => FAILED, lookMs: 60_000 });
    expect(looks[0]?.timeoutMs).toBe(5_000);
    expect(looks.length).toBeGreaterThan(2);
    expect(nowMs).toBeLessThanOrEqual(20_000);
  });

  test("ends at once where the answer cannot come any more", async () => {
    expect(await search({ look: () => ELSEWHERE })).toEqual({ kind: "not_found" });
    expect(looks).toHaveLength(1);
  });

  test("says whether the transcript was read at all", async () => {
    expect(await search({ look: () => FAILED })).toEqual({ kind: "not_read" });
    looks = [];
    expect(await search({ look: (count) => (count === 2 ? NOT_YET : FAILED) })).toEqual({
      kind: "not_found",
    });
    const silent: Look = { kind: "answered", answer: { chatId: "chat-1" }, call: CALL };
    expect(await search({ look: () => silent })).toEqual({ kind: "not_read" });
  });

  test("goes on after a look that failed", async () => {
    expect(await search({ look: (count) => (count < 3 ? FAILED : FOUND) })).toMatchObject({
      kind: "found",
    });
  });

  test("ends after the look during which it was given up, and still takes what that found", async () => {
    const isGivenUp = () => looks.length >= 2;
    expect(await search({ look: () => NOT_YET, isGivenUp })).toEqual({ kind: "not_found" });
    expect(looks).toHaveLength(2);
    looks = [];
    const found = await search({ look: (count) => (count < 2 ? NOT_YET : FOUND), isGivenUp });
    expect(found.kind).toBe("found");
  });

  test("never lasts longer than its window and one shortest look, however long looks take", async () => {
    // Short ones often: the last look of a short window may end after it.
    const durations = fc.oneof(
      fc.integer({ min: 0, max: 1_000 }),
      fc.integer({ min: 0, max: 60_000 }),
    );
    await fc.assert(
      fc.asyncProperty(durations, durations, async (windowMs, lookMs) => {
        nowMs = 0;
        looks = [];
        await search({ windowMs, lookMs, look: () => NOT_YET });
        expect(nowMs).toBeLessThanOrEqual(windowMs + 500);
        expect(looks.length).toBeGreaterThan(0);
        for (const { timeoutMs } of looks) expect(timeoutMs).toBeLessThanOrEqual(5_000);
      }),
    );
  });
});
