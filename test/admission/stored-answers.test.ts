/** Stored answers of one tenant leave room for all other tenants, on a Redis of 64 MB. */
import { afterEach, beforeEach, expect, test } from "vitest";

import type { AdmitRequest } from "../../src/admission/admission.ts";
import { compilePolicies } from "../../src/admission/limit-policy.ts";
import { compileStateSettings } from "../../src/admission/state-settings.ts";
import type { ChatId, WorkspaceId } from "../../src/branded.ts";
import { createTestConfig } from "../support/app-fixture.ts";
import { type RedisServer, startRedis, toArguments } from "../support/redis-server.ts";
import { createShiftedRedis, type ShiftedRedis } from "../support/state-fixtures.ts";

const config = createTestConfig();
if (config.workspaces.kind !== "single") throw new Error("one workspace is configured");
const { limits } = config.workspaces.workspace;
/** The largest answer that is stored. */
const ANSWER = "x".repeat(config.storedAnswers.answerBytesMax);

let server: RedisServer;
let redis: ShiftedRedis;

beforeEach(async () => {
  server = await startRedis(toArguments({ maxmemory: "64mb", "maxmemory-policy": "noeviction" }));
  redis = createShiftedRedis(server.url, "bff:", compileStateSettings(config));
});
afterEach(async () => {
  redis.close();
  await server.kill();
});

interface Sender {
  readonly workspace: number;
  readonly subject: string;
}

function requestOf({ workspace, subject }: Sender, nth: number): AdmitRequest {
  const name = `${workspace}-${subject}-${nth}`;
  return {
    workspaceId: workspace as WorkspaceId,
    subjectKey: subject.padEnd(22, "_"),
    sessionKey: subject.padEnd(22, "_"),
    issuedAtMs: 4_000_000_000_000,
    addressKey: `10.0.${nth % 250}.1`,
    policies: compilePolicies({ ...limits, ip: "off" }),
    replays: undefined,
    chat: {
      chatId: `chat-${workspace}-${subject}-${nth % 20}` as ChatId,
      access: "first-use",
      message: {
        token: name.padEnd(36, "_"),
        fingerprint: name.padEnd(22, "_"),
        keyDigest: name.padEnd(22, "_"),
      },
    },
  };
}

/** Sends one message with an answer of the largest size. @returns the verdict of admission */
async function send(sender: Sender, nth: number): Promise<string> {
  const outcome = await redis.state.admit(requestOf(sender, nth));
  if (outcome.kind !== "admitted") return outcome.kind;
  return redis.state.settle(outcome.admission, {
    disposition: "taken",
    source: "reply",
    answer: ANSWER,
    stateBefore: undefined,
    stateAfter: { count: nth, digest: "digest" },
    owner: "first-use",
  });
}

const OTHER: Sender = { workspace: 43, subject: "neighbour" };
let sentByOther = 0;

/** Checks that another tenant can send, repeat and log out, and that the service is ready. */
async function expectOthersServed(): Promise<void> {
  sentByOther += 1;
  expect(await send(OTHER, sentByOther)).toBe("settled");
  const again = await redis.state.admit(requestOf(OTHER, sentByOther));
  expect(again.kind).toBe("replayed");
  const { workspaceId, subjectKey } = requestOf(OTHER, 0);
  const login = { workspaceId, subjectKey, sessionKey: `login-${sentByOther}`, issuedAtMs: 0 };
  expect(await redis.state.revokeSession(login, 60_000)).toBe("done");
  expect(await redis.state.checkSession(login)).toBe("revoked");
  expect(await redis.state.isReachable()).toBe(true);
}

async function usedBytes(): Promise<number> {
  const info = await redis.redis.info("memory");
  return Number(/^used_memory:(\d+)/m.exec(info)?.[1]);
}

test("one subject at full speed for a whole day causes no failure for others", async () => {
  const sender = { workspace: 42, subject: "greedy" };
  const perMinute = 20;
  const minutes = 24 * 60;
  const verdicts = new Map<string, number>();
  for (let minute = 0; minute < minutes; minute += 1) {
    const sent = Array.from({ length: perMinute }, (_, nth) =>
      send(sender, minute * perMinute + nth),
    );
    for (const verdict of await Promise.all(sent)) {
      verdicts.set(verdict, (verdicts.get(verdict) ?? 0) + 1);
    }
    await redis.advanceUs(60_000_000);
    if (minute % 240 === 0) await expectOthersServed();
  }
  // All messages were admitted; none was refused because of its answer.
  expect([...verdicts]).toEqual([["settled", perMinute * minutes]]);
  await expectOthersServed();
  expect(await usedBytes()).toBeLessThan(40_000_000);
  // Each repeat is told that its message was answered, and none is sent again.
  const repeated = await redis.state.admit(requestOf(sender, perMinute * minutes - 1));
  expect(repeated).toMatchObject({ kind: "unresolved", code: undefined });
}, 300_000);

test("a workspace with any number of subjects fails no other workspace", async () => {
  for (let round = 0; round < 100; round += 1) {
    const sent = Array.from({ length: 30 }, (_, nth) =>
      send({ workspace: 42, subject: `subject-${round}-${nth % 6}` }, nth),
    );
    for (const verdict of await Promise.all(sent)) expect(verdict).toBe("settled");
    await redis.advanceUs(5_000_000);
    if (round % 20 === 0) await expectOthersServed();
  }
  await expectOthersServed();
  expect(await usedBytes()).toBeLessThan(56_000_000);
}, 120_000);
