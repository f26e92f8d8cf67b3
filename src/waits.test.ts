import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

import { createLoadGate, type LoadGate } from "./load-gate.ts";
import { createWaits, type Wait, WAITS_PER_KEY_MAX, type Waits } from "./waits.ts";

const never = new AbortController().signal;

let nowMs: number;
let gate: LoadGate;
let kept: Promise<unknown>[];

beforeEach(() => {
  vi.useFakeTimers();
  nowMs = 0;
  gate = createLoadGate(1);
  kept = [];
});
afterEach(() => void vi.useRealTimers());

function create(joins = true): Waits<string> {
  const clock = { epochMs: () => nowMs, monotonicMs: () => nowMs };
  return createWaits({ clock, gate, joins, keep: (work) => void kept.push(work) });
}

/** How a wait has ended; undefined while it goes on. */
function endOf(wait: Wait<string>): string | undefined {
  return wait.end?.kind === "outcome" ? wait.end.outcome : wait.end?.kind;
}

/** Pauses, and tells whether the pause is over. */
function pause(wait: Wait<string>, ms: number): { over: boolean } {
  const told = { over: false };
  void wait.pause(ms).then(() => {
    told.over = true;
  });
  return told;
}

async function elapse(ms: number): Promise<void> {
  nowMs += ms;
  await vi.advanceTimersByTimeAsync(ms);
}

describe("a pause", () => {
  test("is over after its time, and leaves no timer behind", async () => {
    const wait = create().enter("key", never);
    const paused = pause(wait, 500);
    await elapse(499);
    expect(paused.over).toBe(false);
    await elapse(1);
    expect(paused.over).toBe(true);
    expect(endOf(wait)).toBeUndefined();
    expect(vi.getTimerCount()).toBe(0);
  });

  test("is over as soon as the wait has ended, and leaves no timer behind", async () => {
    const leaving = new AbortController();
    const wait = create().enter("key", leaving.signal);
    const paused = pause(wait, 50_000);
    leaving.abort();
    await elapse(0);
    expect([paused.over, endOf(wait), vi.getTimerCount()]).toEqual([true, "left", 0]);
    // A further one does not begin.
    const again = pause(wait, 50_000);
    await elapse(0);
    expect(again.over).toBe(true);
  });
});

describe("a message", () => {
  test("ends all waits of its key with its outcome, and no others", async () => {
    const waits = create();
    const own = waits.enter("key", never);
    const done = Promise.withResolvers<string>();
    const running = waits.run("key", own, () => done.promise);
    expect(kept).toEqual([running]);
    expect([waits.isRunning("key"), waits.isRunning("other")]).toEqual([true, false]);
    const joined = waits.enter("key", never);
    const other = waits.enter("other", never);
    const paused = [own, joined, other].map((wait) => pause(wait, 50_000));
    done.resolve("answer");
    expect(await running).toBe("answer");
    await elapse(0);
    expect([own, joined, other].map(endOf)).toEqual(["answer", "answer", undefined]);
    expect(paused.map(({ over }) => over)).toEqual([true, true, false]);
    expect(waits.isRunning("key")).toBe(false);
  });

  test("without a key ends the wait of its request alone", async () => {
    const waits = create();
    const own = waits.enter("key", never);
    const other = waits.enter("key", never);
    await waits.run(undefined, own, () => Promise.resolve("refused"));
    expect([own, other].map(endOf)).toEqual(["refused", undefined]);
    expect(waits.isRunning("key")).toBe(false);
  });

  test("that another one of its key has replaced ends the wait of its own request alone", async () => {
    const waits = create();
    const own = waits.enter("key", never);
    const first = Promise.withResolvers<string>();
    const second = Promise.withResolvers<string>();
    const lapsed = waits.run("key", own, () => first.promise);
    const later = waits.enter("key", never);
    const newer = waits.run("key", later, () => second.promise);
    first.resolve("first");
    await lapsed;
    expect([own, later].map(endOf)).toEqual(["first", undefined]);
    expect(waits.isRunning("key")).toBe(true);
    second.resolve("second");
    await newer;
    expect([own, later].map(endOf)).toEqual(["first", "second"]);
  });

  test("ends the wait of its own request alone where others may not be woken", async () => {
    const waits = create(false);
    const own = waits.enter("key", never);
    const other = waits.enter("key", never);
    await waits.run("key", own, () => Promise.resolve("answer"));
    expect([own, other].map(endOf)).toEqual(["answer", undefined]);
    expect(waits.isRunning("key")).toBe(false);
  });
});

describe("the waits of a key", () => {
  test.each([true, false])("are four: a further one ends the oldest (joins: %s)", async (joins) => {
    const waits = create(joins);
    const first = Array.from({ length: WAITS_PER_KEY_MAX }, () => waits.enter("key", never));
    expect(WAITS_PER_KEY_MAX).toBe(4);
    const paused = first.map((wait) => pause(wait, 50_000));
    waits.enter("other", never);
    expect(first.map(endOf)).toEqual([undefined, undefined, undefined, undefined]);
    waits.enter("key", never);
    await elapse(joins ? 0 : 1_000);
    expect(first.map(endOf)).toEqual(["crowded", undefined, undefined, undefined]);
    expect(paused.map(({ over }) => over)).toEqual([true, false, false, false]);
    // One that has left makes room.
    first[1]?.leave();
    waits.enter("key", never);
    expect(first.slice(2).map(endOf)).toEqual([undefined, undefined]);
  });

  test("whose requests were ended without notice are forgotten", () => {
    const waits = create(false);
    const lost = Array.from({ length: 4 }, () => waits.enter("key", never));
    nowMs += 120_001;
    waits.enter("other", never);
    waits.enter("key", never);
    expect(lost.map(endOf)).toEqual([undefined, undefined, undefined, undefined]);
  });
});

describe("the stop of the instance", () => {
  test("ends all waits, also those that begin after it, and no message", async () => {
    const waits = create();
    const done = Promise.withResolvers<string>();
    const own = waits.enter("key", never);
    const running = waits.run("key", own, () => done.promise);
    const paused = pause(own, 50_000);
    void gate.drain();
    await elapse(0);
    const late = waits.enter("key", never);
    expect([paused.over, endOf(own), endOf(late)]).toEqual([true, "draining", "draining"]);
    done.resolve("answer");
    expect(await running).toBe("answer");
    expect(endOf(own)).toBe("answer");
  });
});
