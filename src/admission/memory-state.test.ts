import { expect, test } from "vitest";

import type { ChatId, WorkspaceId } from "../branded.ts";
import { compilePolicies } from "./limit-policy.ts";
import { createMemoryKeySpace } from "./key-space.ts";
import { createMemoryState } from "./memory-state.ts";
import { compileStateSettings } from "./state-settings.ts";

const SETTINGS = compileStateSettings({
  chats: { ownerTtlMs: 86_400_000 },
  upstream: { timeoutMs: 60_000, recoveryWindowMs: 20_000 },
  storedAnswers: { answerBytesMax: 65_536, subjectBytes: 1_048_576, workspaceBytes: 1_048_576 },
});

const policies = compilePolicies({
  session: { quota: 20, windowSeconds: 60, burst: 20 },
  sessionDaily: "off",
  workspace: "off",
  ip: "off",
});

const messageOf = (token: string) => ({ token, fingerprint: token, keyDigest: undefined });
const NOT_TAKEN = { disposition: "not_taken", stateAfter: undefined } as const;

test("what has expired does not pile up: a steady stream of new subjects keeps to a bound", () => {
  let nowUs = 0;
  const space = createMemoryKeySpace(() => nowUs);
  // 100,000 subjects, each remembered for 1,000 steps.
  let most = 0;
  for (let step = 0; step < 100_000; step += 1) {
    nowUs += 1;
    space.write(`subject-${step}`, "1", nowUs + 1_000);
    most = Math.max(most, space.size());
  }
  expect(most).toBeLessThan(4_000);
});

test("a changed limit refuses a subject for no longer than the new limit can", async () => {
  const nowMs = 1_000_000;
  const state = createMemoryState({ epochMs: () => nowMs, monotonicMs: () => nowMs }, SETTINGS);
  const ask = (chat: string, quota: number, windowSeconds: number) => {
    const off = "off" as const;
    const session = { quota, windowSeconds, burst: quota };
    return state.admit({
      workspaceId: 42 as WorkspaceId,
      subjectKey: "s",
      sessionKey: "session",
      issuedAtMs: 0,
      addressKey: "a",
      policies: compilePolicies({ session, sessionDaily: off, workspace: off, ip: off }),
      replays: undefined,
      chat: { chatId: chat as ChatId, access: "open", message: messageOf(chat) },
    });
  };
  await ask("one", 2, 3_600);
  await ask("two", 2, 3_600);
  expect(await ask("three", 20, 60)).toMatchObject({
    kind: "limited",
    limits: [{ remaining: 0, resetSeconds: 3 }],
  });
});

test("an operator's order is not undone by a later, shorter one", async () => {
  let nowMs = 1_000_000;
  const state = createMemoryState({ epochMs: () => nowMs, monotonicMs: () => nowMs }, SETTINGS);
  const session = {
    workspaceId: 42 as WorkspaceId,
    subjectKey: "s",
    sessionKey: "session",
    issuedAtMs: 900_000,
  };
  const order = { workspaceId: session.workspaceId, subjectKey: "s" };
  await state.cutOff({ ...order, forMs: 86_400_000 });
  await state.cutOff({ ...order, forMs: 2_000 });
  nowMs += 3_000;
  expect(await state.checkSession(session)).toBe("revoked");
});

test("a lock that its holder lost to time can be taken, and the late holder frees nothing", async () => {
  let nowMs = 1_000_000;
  const state = createMemoryState({ epochMs: () => nowMs, monotonicMs: () => nowMs }, SETTINGS);
  const ask = (token: string) =>
    state.admit({
      workspaceId: 42 as WorkspaceId,
      subjectKey: "s",
      sessionKey: "session",
      issuedAtMs: 0,
      addressKey: "a",
      policies,
      replays: undefined,
      chat: { chatId: "c" as ChatId, access: "open", message: messageOf(token) },
    });
  const first = await ask("first");
  if (first.kind !== "admitted") throw new Error("the chat is free");
  nowMs += 14_999;
  expect((await ask("second")).kind).toBe("chat_busy");
  nowMs += 1;
  const second = await ask("second");
  if (second.kind !== "admitted") throw new Error("the lease is over");
  expect(await state.settle(first.admission, NOT_TAKEN)).toBe("lost");
  expect(await state.renew(first.admission)).toBe("lost");
  expect((await ask("third")).kind).toBe("chat_busy");
  expect(await state.settle(second.admission, NOT_TAKEN)).toBe("settled");
  expect((await ask("third")).kind).toBe("admitted");
});
