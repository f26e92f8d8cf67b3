import * as fc from "fast-check";
import { beforeEach, describe, expect, test } from "vitest";

import type { WorkspaceId } from "../branded.ts";
import type { ProviderAccount } from "../chat/chat-provider.ts";
import type { LogFields } from "../logger.ts";
import type { CallHealth } from "./classify-reply.ts";
import { type CallPass, type Circuits, createCircuits } from "./circuits.ts";

let nowMs: number;
let lines: LogFields[];
let circuits: Circuits;

beforeEach(() => {
  nowMs = 0;
  lines = [];
  circuits = createCircuits(
    { epochMs: () => 0, monotonicMs: () => nowMs },
    { log: (level, message, fields) => void lines.push({ level, message, ...fields }) },
  );
});

const account = (id: number, ...tokens: string[]): ProviderAccount => ({
  id: id as WorkspaceId,
  apiTokens: ["token", ...tokens],
});
const A = account(1);
const B = account(2);
const C = account(3);
const D = account(4);

function isRefused(of: ProviderAccount): boolean {
  return "retryAfterSeconds" in circuits.enter(of);
}

function pass(of: ProviderAccount): CallPass {
  const entered = circuits.enter(of);
  if ("retryAfterSeconds" in entered) throw new Error("the call is refused");
  return entered;
}

function call(of: ProviderAccount, health: CallHealth, times = 1, counts = true): void {
  for (let count = 0; count < times; count += 1) pass(of).record(health, counts);
}

describe("an account's own circuit", () => {
  test("opens by its own failures, and no other account is refused", () => {
    call(A, "failed", 10);
    expect(circuits.enter(A)).toEqual({ retryAfterSeconds: 5 });
    call(B, "answered", 100);
    expect(isRefused(A)).toBe(true);
    expect(circuits.state).toBe("open");
  });

  test("is one for all entries with this workspace and these tokens, and for no others", () => {
    call(A, "failed", 10);
    expect(isRefused(account(1))).toBe(true);
    expect(isRefused(account(1, "another token"))).toBe(false);
    expect(isRefused({ id: 1 as WorkspaceId, apiTokens: ["another token"] })).toBe(false);
  });

  test("is closed by its own probe, and by no other account's answer", () => {
    call(A, "failed", 10);
    nowMs += 5_000;
    call(B, "answered");
    const probe = pass(A);
    expect(isRefused(A)).toBe(true);
    probe.record("answered");
    call(A, "answered", 2);
    expect(circuits.state).toBe("closed");
  });

  test("is not opened by failures that do not count, but kept open by those of a probe", () => {
    call(A, "failed", 100, false);
    call(A, "failed", 10);
    nowMs += 5_000;
    call(A, "failed", 1, false);
    expect(circuits.enter(A)).toEqual({ retryAfterSeconds: 5 });
  });

  test("is told in the log once per outage, with its workspace", () => {
    call(A, "failed", 10);
    for (let count = 0; count < 3; count += 1) {
      nowMs += 5_000;
      call(A, "failed");
    }
    nowMs += 5_000;
    call(A, "answered", 3);
    expect(lines).toEqual([
      {
        level: "error",
        message: "UponAI keeps failing: calls of this workspace are refused for now",
        workspace: 1,
      },
      { level: "info", message: "UponAI answers this workspace again", workspace: 1 },
    ]);
  });
});

describe("the connection circuit", () => {
  test("opens for all when UponAI cannot be reached ten times in a row, for any account", () => {
    for (const each of [A, B, A, B, A, B, A, B, A]) call(each, "not_reached");
    expect(isRefused(C)).toBe(false);
    call(B, "not_reached");
    for (const each of [A, B, C]) expect(circuits.enter(each)).toEqual({ retryAfterSeconds: 5 });
    expect(lines).toEqual([
      {
        level: "error",
        message: "UponAI cannot be reached: all calls to it are refused for now",
      },
    ]);
  });

  test.each(["answered", "failed"] as const)(
    "begins anew with a call that is %s: UponAI was reached",
    (health) => {
      for (let count = 0; count < 5; count += 1) {
        call(A, "not_reached", 9);
        call(B, health);
        nowMs += 10_000;
        // The account's own circuit must not stand in the way.
        call(A, "answered");
      }
      expect(isRefused(C)).toBe(false);
    },
  );

  test("lets one probe of any account through, which closes it even when it fails otherwise", () => {
    call(A, "not_reached", 10);
    nowMs += 5_000;
    const probe = pass(B);
    for (const each of [A, B, C]) expect(isRefused(each)).toBe(true);
    probe.record("failed");
    expect(isRefused(C)).toBe(false);
    expect(lines.at(-1)).toEqual({ level: "info", message: "UponAI can be reached again" });
  });

  test("loses no probe to an account whose own circuit is open", () => {
    const begun = Array.from({ length: 10 }, () => pass(B));
    call(A, "not_reached", 10);
    nowMs += 1_000;
    for (const each of begun) each.record("failed");
    nowMs += 4_000;
    expect(circuits.enter(B)).toEqual({ retryAfterSeconds: 1 });
    expect(isRefused(C)).toBe(false);
  });
});

function fail(...accounts: ProviderAccount[]): void {
  for (const each of accounts) call(each, "failed", 10);
}

describe("a joint outage", () => {
  test("gives a workspace that fails as well one call in five seconds, until one is answered", () => {
    fail(A, B, C);
    call(D, "failed");
    const first = pass(D);
    expect(circuits.enter(D)).toEqual({ retryAfterSeconds: 5 });
    nowMs += 5_000;
    pass(D);
    expect(isRefused(D)).toBe(true);
    first.record("answered");
    call(D, "answered", 10);
  });

  test("takes three workspaces: two are not enough, nor is one with several tokens", () => {
    fail(A, B, account(1, "other"), account(2, "other"));
    call(D, "failed", 9);
    expect(isRefused(D)).toBe(false);
  });

  test("there is none where any call was answered in the last ten seconds", () => {
    call(D, "answered");
    nowMs += 9_999;
    fail(A, B, C);
    call(D, "failed", 2);
    expect(isRefused(D)).toBe(false);
    nowMs += 1;
    pass(D);
    expect(isRefused(D)).toBe(true);
  });

  test("is over when the failures are old, also if there was no call since", () => {
    fail(A, B, C);
    nowMs += 10_000;
    pass(D);
    expect(isRefused(D)).toBe(false);
  });
});

test("the state is the worst one, and an open circuit that is not called becomes half open", () => {
  expect(circuits.state).toBe("closed");
  call(A, "failed", 10);
  nowMs += 4_999;
  expect(circuits.state).toBe("open");
  nowMs += 1;
  expect(circuits.state).toBe("half_open");
  call(B, "failed", 10);
  expect(circuits.state).toBe("open");
});

interface Step {
  readonly waitMs: number;
  readonly which: number;
  readonly health: CallHealth;
}

function steps(...healths: CallHealth[]): fc.Arbitrary<Step[]> {
  return fc.array(
    fc.record({
      waitMs: fc.oneof(fc.constant(0), fc.nat(300), fc.nat(6_000)),
      which: fc.nat(),
      health: fc.constantFrom(...healths),
    }),
    { maxLength: 200 },
  );
}

/** Runs calls of these accounts one after the other, those that are refused left out. */
function run(accounts: readonly ProviderAccount[], history: readonly Step[]): void {
  for (const { waitMs, which, health } of history) {
    nowMs += waitMs;
    const caller = accounts[which % accounts.length] ?? A;
    const entered = circuits.enter(caller);
    if (!("retryAfterSeconds" in entered)) entered.record(health);
  }
}

test("no history of one workspace's calls that reached UponAI refuses another workspace's", () => {
  fc.assert(
    fc.property(steps("failed", "failed", "failed", "answered"), fc.nat(50), (history, others) => {
      circuits = createCircuits(
        { epochMs: () => 0, monotonicMs: () => nowMs },
        { log: () => undefined },
      );
      run([A, account(1, "other"), account(1, "third")], history);
      for (let count = 0; count < others; count += 1) {
        expect(isRefused(B)).toBe(false);
        run([A], history.slice(count, count + 2));
      }
    }),
  );
});

test("no history of other workspaces' calls that reached UponAI refuses a workspace that did not fail", () => {
  fc.assert(
    fc.property(steps("failed", "failed", "failed", "answered"), (history) => {
      circuits = createCircuits(
        { epochMs: () => 0, monotonicMs: () => nowMs },
        { log: () => undefined },
      );
      run([A, B, C, account(5), account(6)], history);
      // Long calls side by side: none has been answered yet, and none has failed.
      for (let count = 0; count < 20; count += 1) expect(isRefused(D)).toBe(false);
    }),
  );
});
