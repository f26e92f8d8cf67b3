/** What version 0.1.0 wrote still counts: owners, locks, limits, cut-offs, logouts and keys. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";

import type { AdmissionState, AdmitRequest } from "../../src/admission/admission.ts";
import { createMemoryKeySpace } from "../../src/admission/key-space.ts";
import { compilePolicies, type LimitPolicies } from "../../src/admission/limit-policy.ts";
import { createRulesState } from "../../src/admission/rules-state.ts";
import type { ChatId, WorkspaceId } from "../../src/branded.ts";
import { type RedisServer, startRedis } from "../support/redis-server.ts";
import {
  createMovableClock,
  createShiftedRedis,
  SETTINGS,
  type ShiftedRedis,
} from "../support/state-fixtures.ts";

const HOUR_US = 3_600_000_000;

interface OldState {
  readonly state: AdmissionState;
  readonly nowUs: number;
  write(key: string, text: string): Promise<void>;
}

let server: RedisServer;
let redis: ShiftedRedis;

beforeAll(async () => {
  server = await startRedis();
  redis = createShiftedRedis(server.url, "");
});
beforeEach(async () => {
  await redis.redis.flushdb();
});
afterAll(async () => {
  redis.close();
  await server.kill();
});

function openMemory(): OldState {
  const clock = createMovableClock();
  const nowUs = () => clock.epochMs() * 1_000;
  const space = createMemoryKeySpace(nowUs);
  return {
    state: createRulesState(space, nowUs, SETTINGS),
    nowUs: nowUs(),
    write: async (key, text) => space.write(key, text, nowUs() + HOUR_US),
  };
}

function openRedis(): OldState {
  return {
    state: redis.state,
    nowUs: Date.now() * 1_000,
    write: async (key, text) => void (await redis.redis.set(key, text, "PX", HOUR_US / 1_000)),
  };
}

const OFF = { session: "off", sessionDaily: "off", workspace: "off", ip: "off" } as const;
const ONE = { quota: 1, windowSeconds: 3_600, burst: 1 };

describe.each([
  ["the in-process state", openMemory],
  ["Redis", openRedis],
])("%s", (_name, open) => {
  let opened: OldState;

  beforeEach(() => {
    opened = open();
  });

  const requestOf = (subject: string, policies: LimitPolicies = []): AdmitRequest => ({
    workspaceId: 42 as WorkspaceId,
    subjectKey: subject,
    sessionKey: `of-${subject}`,
    issuedAtMs: opened.nowUs / 1_000 - 60_000,
    addressKey: "address",
    policies,
    replays: undefined,
    chat: {
      chatId: "chat-1" as ChatId,
      access: "first-use",
      message: { token: `token-${subject}`, fingerprint: "words", keyDigest: `key-${subject}` },
    },
  });
  const admit = (subject: string, policies?: LimitPolicies) =>
    opened.state.admit(requestOf(subject, policies));

  const own = (subjectKey: string) =>
    opened.state.own({
      workspaceId: 42 as WorkspaceId,
      subjectKey,
      chatId: "chat-1" as ChatId,
      transcriptState: { count: 3, digest: "three" },
      stamped: true,
    });

  test.each(["f", "s"])("keeps an owner of kind %s", async (kind) => {
    await opened.write("{ws:42}:o:chat-1", `${kind} alice`);
    expect(await admit("bob")).toMatchObject({ kind: "denied", unowned: false });
    expect(await admit("alice")).toMatchObject({
      kind: "admitted",
      admission: { provisionalOwner: false },
    });
  });

  test("keeps a transcript state that was not in doubt", async () => {
    await opened.write("{ws:42}:o:chat-1", "f alice");
    await opened.write("{ws:42}:n:chat-1", "5 12:abcdefghijk 0");
    expect(await admit("alice")).toMatchObject({
      admission: { sends: 6, transcriptState: { count: 12, digest: "abcdefghijk" } },
    });
  });

  test("contests all words of a chat with a message in doubt", async () => {
    await opened.write("{ws:42}:n:chat-1", `5 - ${opened.nowUs + HOUR_US}`);
    expect(await admit("alice")).toMatchObject({
      admission: { contested: true, transcriptState: undefined },
    });
  });

  test("keeps a lock until its lease ends", async () => {
    await opened.write("{ws:42}:n:chat-1", "5 * 0");
    await opened.write("{ws:42}:l:chat-1", `old-token ${opened.nowUs + 14_000_000}`);
    expect((await admit("alice")).kind).toBe("chat_busy");
    await opened.write("{ws:42}:l:chat-1", `old-token ${opened.nowUs - 1_000_000}`);
    expect(await admit("alice")).toMatchObject({ admission: { contested: true } });
  });

  describe("when an owner is stored by its stamp first", () => {
    test("keeps a lock, and the messages in doubt", async () => {
      await opened.write("{ws:42}:n:chat-1", `5 - ${opened.nowUs + HOUR_US}`);
      await opened.write("{ws:42}:l:chat-1", `old-token ${opened.nowUs + 14_000_000}`);
      expect(await own("alice")).toBe("owned");
      expect((await admit("alice")).kind).toBe("chat_busy");
    });

    test("contests all words of a chat with a message in doubt", async () => {
      await opened.write("{ws:42}:n:chat-1", `5 - ${opened.nowUs + HOUR_US}`);
      expect(await own("alice")).toBe("owned");
      expect(await admit("alice")).toMatchObject({
        admission: { sends: 6, contested: true, transcriptState: undefined },
      });
    });

    test("keeps the subject that started the chat", async () => {
      await opened.write("{ws:42}:o:chat-1", "s alice");
      expect(await own("bob")).toBe("refused");
      expect(await admit("alice")).toMatchObject({ admission: { provisionalOwner: false } });
    });
  });

  test("keeps limits", async () => {
    const spent = String(opened.nowUs + HOUR_US);
    for (const [limit, key] of [
      ["session", "s:alice"],
      ["sessionDaily", "d:alice"],
      ["workspace", "w"],
    ] as const) {
      const policies = compilePolicies({ ...OFF, [limit]: ONE });
      expect(
        (await opened.state.admit({ ...requestOf("alice", policies), chat: undefined })).kind,
      ).toBe("admitted");
      opened = open();
      await redis.redis.flushdb();
      await opened.write(`{ws:42}:${key}`, spent);
      expect((await admit("alice", policies)).kind).toBe("limited");
    }
  });

  test.each(["c:alice", "e"])("keeps the cut-off %s", async (key) => {
    await opened.write(`{ws:42}:${key}`, String(Math.floor(opened.nowUs / 1_000)));
    expect((await admit("alice")).kind).toBe("revoked");
    expect(await opened.state.checkSession(requestOf("alice"))).toBe("revoked");
    const later = { ...requestOf("alice"), issuedAtMs: opened.nowUs / 1_000 + 60_000 };
    expect((await opened.state.admit(later)).kind).toBe("admitted");
    // It is still in force once the new record is there.
    expect(await opened.state.checkSession(requestOf("alice"))).toBe("revoked");
  });

  test("keeps a logout", async () => {
    await opened.write("{ws:42}:r:of-alice", String(opened.nowUs + HOUR_US));
    expect((await admit("alice")).kind).toBe("revoked");
  });

  test("replays a key's answer, and never sends a key of unknown outcome again", async () => {
    await opened.write("{ws:42}:k:key-alice", 'f words m {"messages":[]}');
    expect(await admit("alice")).toMatchObject({
      kind: "replayed",
      answer: 'm {"messages":[]}',
    });
    await opened.write("{ws:42}:k:key-alice", "p words t1 t1 0 3:three outcome_unknown");
    expect(await admit("alice")).toMatchObject({
      kind: "unresolved",
      code: "outcome_unknown",
      admission: { contested: true },
    });
  });
});
