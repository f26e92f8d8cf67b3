/** Fail-overs and outages of a Redis behind Sentinels, as users and operators see them. */
import { Redis } from "ioredis";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";

import type { RunningEmulator } from "../../src/emulator/listen.ts";
import { readCode, sendMessage, startTestBff, startTestEmulator } from "../support/bff-fixture.ts";
import type { BffProcess } from "../support/bff-process.ts";
import {
  PRIMARY_NAME,
  type SentinelGroup,
  type SentinelGroupOptions,
  startSentinels,
} from "../support/redis-sentinel.ts";
import {
  answersOf,
  expectOnceEach,
  refusedThenServed,
  type SendOutcome,
  sendSteadily,
  sendUntilServed,
  servedFrom,
} from "../support/steady-sender.ts";

const REDIS_TIMEOUT_MS = 500;
/**
 * Tolerance for a busy machine, in milliseconds, on top of the bound. A hang would take seconds.
 */
const SLACK_MS = 3_000;
const UNLIMITED = { LIMIT_SESSION: "off", LIMIT_IP: "off", LIMIT_WORKSPACE: "off" };

let emulator: RunningEmulator;
let group: SentinelGroup;
const running: BffProcess[] = [];

beforeAll(async () => {
  emulator = await startTestEmulator();
});
afterEach(async () => {
  await Promise.all(running.splice(0).map((bff) => bff.stop()));
  await group.stop();
});
afterAll(() => emulator.close());

async function startGroup(options?: SentinelGroupOptions): Promise<void> {
  emulator.reset();
  group = await startSentinels(options);
}

async function start(credentials = "", query = ""): Promise<BffProcess> {
  const bff = await startTestBff(emulator.url, {
    ...UNLIMITED,
    REDIS_URL: `redis+sentinel://${credentials}${group.hosts}/${PRIMARY_NAME}${query}`,
    REDIS_TIMEOUT: `${REDIS_TIMEOUT_MS}ms`,
  });
  running.push(bff);
  return bff;
}

async function expectFailOver(bff: BffProcess, breakPrimary: () => unknown): Promise<void> {
  const sender = sendSteadily(emulator, [bff.url]);
  await servedFrom(sender);
  await breakPrimary();
  await refusedThenServed(sender);
  const outcomes = await sender.stop();
  expect([201, "state_unavailable"]).toEqual(expect.arrayContaining(answersOf(outcomes)));
  expect(Math.max(...outcomes.map(({ ms }) => ms))).toBeLessThan(REDIS_TIMEOUT_MS + SLACK_MS);
  expectOnceEach(emulator, outcomes);
  const replica = new Redis(group.replica.port);
  expect(await replica.role()).toContain("master");
  replica.disconnect();
}

test("a killed primary is 503, never 429 or 500, until the replica is promoted", async () => {
  await startGroup();
  const bff = await start();
  await expectFailOver(bff, () => group.primary.kill());
  await bff.waitForLine(
    ({ msg }) => msg === "state is unreachable: requests get 503 until it is back",
  );
  await bff.waitForLine(({ msg }) => msg === "state is reachable again");
});

test("a hanging primary is 503 within the bound, until the replica is promoted", async () => {
  await startGroup();
  await expectFailOver(await start(), () => group.primary.pause());
});

test("messages repeated with their keys over a fail-over are written once each", async () => {
  await startGroup();
  const bff = await start();
  const sending: Promise<SendOutcome[]>[] = [];
  for (let index = 0; index < 60; index += 1) {
    const chatId = `kept-${index}`;
    emulator.addChat({ chatId, workspaceId: 42 });
    emulator.addFault({ kind: "taken-then-delay", delayMs: 300 }, { times: 1 });
    sending.push(sendUntilServed(bff.url, chatId));
    // Some messages are being answered when the primary dies, the others arrive while it is dead.
    if (index === 20) {
      await expect.poll(() => emulator.messages().length).toBeGreaterThan(5);
      await group.primary.kill();
    }
  }
  const outcomes = (await Promise.all(sending)).flat();
  expect([201, "state_unavailable", "request_in_progress", "chat_busy"]).toEqual(
    expect.arrayContaining(answersOf(outcomes)),
  );
  expect(answersOf(outcomes)).toContain("state_unavailable");
  expectOnceEach(emulator, outcomes);
}, 60_000);

test("a primary that is demoted by order is left for the new one", async () => {
  await startGroup();
  const bff = await start();
  expect((await sendMessage(bff.url, "before")).status).toBe(201);
  const sentinel = new Redis(group.sentinels[0]?.port ?? 0, { enableReadyCheck: false });
  await sentinel.call("SENTINEL", "FAILOVER", PRIMARY_NAME);
  sentinel.disconnect();
  const replica = new Redis(group.replica.port);
  await expect.poll(async () => (await replica.role())[0], { timeout: 20_000 }).toBe("master");
  await expect
    .poll(async () => (await sendMessage(bff.url, "after")).status, { timeout: 20_000 })
    .toBe(201);
  replica.disconnect();
});

test("after a primary is cut off from its replicas, the service asks the Sentinels again", async () => {
  await startGroup();
  const admin = new Redis(group.primary.port);
  const countConnections = async () =>
    Number(/total_connections_received:(\d+)/.exec(await admin.info("stats"))?.[1]);
  const bff = await start();
  expect((await sendMessage(bff.url, "before")).status).toBe(201);
  await admin.config("SET", "min-replicas-to-write", "2");
  const before = await countConnections();
  expect(await readCode(await sendMessage(bff.url, "during"))).toBe("state_unavailable");
  await bff.waitForLine(({ reason }) => reason === "NOREPLICAS");
  await expect.poll(countConnections).toBeGreaterThan(before);
  await admin.config("SET", "min-replicas-to-write", "0");
  admin.disconnect();
  await expect
    .poll(async () => (await sendMessage(bff.url, "after")).status, { timeout: 10_000 })
    .toBe(201);
});

test("Sentinels that are down or hang do not matter while one answers", async () => {
  await startGroup();
  await group.sentinels[0]?.kill();
  group.sentinels[1]?.pause();
  const bff = await start();
  await expect
    .poll(async () => (await sendMessage(bff.url, "hi")).status, { timeout: 10_000 })
    .toBe(201);
});

test("Sentinels that are all down at the start do not keep the service from starting", async () => {
  await startGroup();
  for (const sentinel of group.sentinels) await sentinel.kill();
  const bff = await start();
  expect(await readCode(await sendMessage(bff.url, "hi"))).toBe("state_unavailable");
  await bff.waitForLine(({ reason }) => reason === "unreachable");
  for (const sentinel of group.sentinels) await sentinel.start();
  await expect
    .poll(async () => (await sendMessage(bff.url, "hi")).status, { timeout: 10_000 })
    .toBe(201);
});

test("Sentinels and data can have passwords of their own", async () => {
  await startGroup({
    password: "data,canary@pw",
    sentinelPassword: "watch+canary pw".replace(" ", "&"),
  });
  const data = `:${encodeURIComponent("data,canary@pw")}@`;
  const watch = `?sentinelPassword=${encodeURIComponent("watch+canary&pw")}`;
  expect((await sendMessage((await start(data, watch)).url, "hi")).status).toBe(201);

  for (const [credentials, query] of [
    [":wrong-canary@", watch],
    [data, "?sentinelPassword=wrong-canary"],
  ] as const) {
    const locked = await start(credentials, query);
    await locked.waitForLine(({ reason }) => reason === "WRONGPASS");
    expect(await readCode(await sendMessage(locked.url, "hi"))).toBe("state_unavailable");
    expect(locked.lines.join("\n")).not.toContain("canary");
  }
});
