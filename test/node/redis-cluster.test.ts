/** Moved slots, fail-overs and outages of a Redis Cluster, as users and operators see them. */
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";

import { probeScript } from "../../src/admission/lua/scripts.ts";
import { redisUrl } from "../../src/config/redis-url.ts";
import type { RunningEmulator } from "../../src/emulator/listen.ts";
import { createNodeRedis } from "../../src/platform/node/redis.ts";
import { readCode, sendMessage, startTestBff, startTestEmulator } from "../support/bff-fixture.ts";
import type { BffProcess } from "../support/bff-process.ts";
import { mintToken } from "../support/session-tokens.ts";
import {
  type ClusterNode,
  moveSlot,
  type RedisCluster,
  startCluster,
} from "../support/redis-cluster.ts";
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
/** Time for an election in milliseconds: the Cluster needs two seconds, a busy machine more. */
const FAIL_OVER_MS = 20_000;
/** The key whose slot all of workspace 42 is in. */
const WORKSPACE_KEY = "bff:{ws:42}:w2";

let emulator: RunningEmulator;
let cluster: RedisCluster;
const running: BffProcess[] = [];

beforeAll(async () => {
  emulator = await startTestEmulator();
});
beforeEach(async () => {
  emulator.reset();
  cluster = await startCluster();
});
afterEach(async () => {
  await Promise.all(running.splice(0).map((bff) => bff.stop()));
  await cluster.stop();
});
afterAll(() => emulator.close());

async function start(more: Record<string, string> = {}): Promise<BffProcess> {
  const bff = await startTestBff(emulator.url, {
    REDIS_URL: cluster.url,
    REDIS_TIMEOUT: `${REDIS_TIMEOUT_MS}ms`,
    ...more,
  });
  running.push(bff);
  return bff;
}

const UNLIMITED = { LIMIT_SESSION: "off", LIMIT_IP: "off", LIMIT_WORKSPACE: "off" };

async function readyStatus(bff: BffProcess): Promise<number> {
  return (await fetch(`${bff.url}/readyz`)).status;
}

/** Log lines about the state, in order. Probes of `/readyz` cause them as well. */
function stateLines(bff: BffProcess): unknown[] {
  return bff
    .log()
    .map(({ msg }) => msg)
    .filter((msg) => String(msg).startsWith("state is"));
}

function home(): Promise<ClusterNode> {
  return cluster.ownerOf(WORKSPACE_KEY);
}

/** All answers were correct and in time, and no message was sent twice or without need. */
function expectHonest(outcomes: readonly SendOutcome[]): void {
  expect([201, "state_unavailable"]).toEqual(expect.arrayContaining(answersOf(outcomes)));
  expect(Math.max(...outcomes.map(({ ms }) => ms))).toBeLessThan(REDIS_TIMEOUT_MS + SLACK_MS);
  expectOnceEach(emulator, outcomes);
}

test("parallel messages under a limit of N admit exactly N, over two services", async () => {
  const settings = { LIMIT_SESSION: "37/1h", LIMIT_IP: "off" };
  const services = await Promise.all([start(settings), start(settings)]);
  for (let chat = 0; chat < 200; chat += 1) {
    emulator.addChat({ chatId: `parallel-${chat}`, workspaceId: 42 });
  }
  const answers = await Promise.all(
    Array.from({ length: 200 }, (_, index) =>
      sendMessage(services[index % 2]?.url ?? "", `message ${index}`, {
        chatId: `parallel-${index}`,
      }),
    ),
  );
  const statuses = Map.groupBy(answers, ({ status }) => status);
  expect(statuses.get(201)).toHaveLength(37);
  expect(statuses.get(429)).toHaveLength(163);
  expect(emulator.messages().filter(({ arrived }) => arrived === 1)).toHaveLength(37);
});

test("a killed primary is 503, never 429 or 500, until its replica takes over by itself", async () => {
  const services = await Promise.all([start(UNLIMITED), start(UNLIMITED)]);
  const sender = sendSteadily(
    emulator,
    services.map(({ url }) => url),
  );
  await servedFrom(sender);
  await (await home()).kill();
  await refusedThenServed(sender);
  expectHonest(await sender.stop());
  for (const bff of services) {
    await expect
      .poll(async () => [await readyStatus(bff), ...stateLines(bff)], { timeout: 5_000 })
      .toEqual([
        200,
        "state is unreachable: requests get 503 until it is back",
        "state is reachable again",
      ]);
    expect(bff.log().filter(({ level }) => level === "fatal")).toEqual([]);
  }
  expect((await home()).id).toBe(cluster.replicas[0]?.id);
});

test("messages repeated with their keys over a fail-over are written once each", async () => {
  const services = await Promise.all([start(UNLIMITED), start(UNLIMITED)]);
  const chats = Array.from({ length: 60 }, (_, index) => `kept-${index}`);
  const sending: Promise<SendOutcome[]>[] = [];
  for (const [index, chatId] of chats.entries()) {
    emulator.addChat({ chatId, workspaceId: 42 });
    emulator.addFault({ kind: "taken-then-delay", delayMs: 300 }, { times: 1 });
    sending.push(sendUntilServed(services[index % 2]?.url ?? "", chatId));
    // Some messages are being answered when the primary dies, the others arrive while it is dead.
    if (index === 20) {
      await expect.poll(() => emulator.messages().length).toBeGreaterThan(5);
      await (await home()).kill();
    }
  }
  const outcomes = (await Promise.all(sending)).flat();
  expect([201, "state_unavailable", "request_in_progress", "chat_busy"]).toEqual(
    expect.arrayContaining(answersOf(outcomes)),
  );
  expect(answersOf(outcomes)).toContain("state_unavailable");
  expectOnceEach(emulator, outcomes);
}, 60_000);

test("a hanging primary is 503 within the bound, until its replica takes over", async () => {
  const bff = await start(UNLIMITED);
  const sender = sendSteadily(emulator, [bff.url]);
  await servedFrom(sender);
  (await home()).pause();
  await refusedThenServed(sender);
  expectHonest(await sender.stop());
});

test("a primary that is restarted is served from again, with nothing done here", async () => {
  const bff = await start(UNLIMITED);
  const other = cluster.primaries[1];
  expect((await sendMessage(bff.url, "before")).status).toBe(201);
  // No replica can take over. A Cluster that requires full coverage then serves no slot.
  await other?.kill();
  await expect
    .poll(async () => (await sendMessage(bff.url, "during")).status, { timeout: FAIL_OVER_MS })
    .toBe(503);
  await other?.start();
  await expect
    .poll(async () => (await sendMessage(bff.url, "after")).status, { timeout: FAIL_OVER_MS })
    .toBe(201);
  await bff.waitForLine(({ reason }) => reason === "CLUSTERDOWN");
});

test("a Cluster that goes on without a part of its slots serves the workspaces of the others", async () => {
  for (const { admin } of cluster.primaries) {
    await admin.config("SET", "cluster-require-full-coverage", "no");
  }
  const bff = await start(UNLIMITED);
  const sender = sendSteadily(emulator, [bff.url]);
  await servedFrom(sender);
  const from = await home();
  await cluster.primaries.find(({ id }) => id !== from.id)?.kill();
  const count = sender.outcomes.length;
  // Longer than the time after which the other nodes count it as dead.
  await expect
    .poll(async () => String(await from.admin.cluster("NODES")).includes("master,fail "), {
      timeout: FAIL_OVER_MS,
    })
    .toBe(true);
  const outcomes = await sender.stop();
  expect(outcomes.length).toBeGreaterThan(count);
  expect(answersOf(outcomes)).toEqual([201]);
  expectOnceEach(emulator, outcomes);
});

test("a slot that moves while messages flow is followed; while it moves it is 503", async () => {
  const bff = await start({ ...UNLIMITED, LIMIT_SESSION: "1000/1d" });
  const sender = sendSteadily(emulator, [bff.url]);
  await servedFrom(sender);
  const from = await home();
  const to = cluster.primaries.find(({ id }) => id !== from.id);
  if (to === undefined) throw new Error("nowhere to move to");
  await moveSlot(cluster, await from.admin.cluster("KEYSLOT", WORKSPACE_KEY), from, to);
  const movedAtMs = performance.now();
  expect((await home()).id).toBe(to.id);
  await expect
    .poll(() => sender.outcomes.filter(({ atMs }) => atMs > movedAtMs).length)
    .toBeGreaterThan(30);
  const outcomes = await sender.stop();
  expectHonest(outcomes);
  const after = outcomes.filter(({ atMs, ms }) => atMs - ms > movedAtMs);
  expect(after.filter(({ status }) => status !== 201)).toEqual([]);
  // The limit's counter moved with the slot: earlier requests still count.
  const last = await sendMessage(bff.url, "last");
  const served = outcomes.filter(({ status }) => status === 201).length;
  expect(last.headers.get("ratelimit")).toContain(`"session";r=${1_000 - served - 1};`);
});

test("a slot that has moved is followed, while others of its old node stay where they are", async () => {
  const from = await home();
  const to = cluster.primaries.find(({ id }) => id !== from.id);
  if (to === undefined) throw new Error("nowhere to move to");
  let staying = WORKSPACE_KEY;
  for (let id = 43; staying === WORKSPACE_KEY; id += 1) {
    const key = `bff:{ws:${id}}:w`;
    if ((await cluster.ownerOf(key)).id === from.id) staying = key;
  }
  const log = { log: () => undefined };
  const connection = createNodeRedis(redisUrl.parse(cluster.url), REDIS_TIMEOUT_MS, log);
  try {
    expect(await connection.connected(5_000)).toBeUndefined();
    await moveSlot(cluster, await from.admin.cluster("KEYSLOT", WORKSPACE_KEY), from, to);
    const keys = [WORKSPACE_KEY, staying, WORKSPACE_KEY, staying];
    const replies = await Promise.all(keys.map((key) => connection.run(probeScript, [key], [])));
    expect(replies.map((reply) => typeof reply)).toEqual(["number", "number", "number", "number"]);
  } finally {
    connection.close();
  }
});

test("a node that dies while it is asked for a moving slot does not take the service with it", async () => {
  const bff = await start(UNLIMITED);
  const from = await home();
  const to = cluster.primaries.find(({ id }) => id !== from.id);
  if (to === undefined) throw new Error("nowhere to move to");
  const slot = await from.admin.cluster("KEYSLOT", WORKSPACE_KEY);
  await to.admin.cluster("SETSLOT", slot, "IMPORTING", from.id);
  await from.admin.cluster("SETSLOT", slot, "MIGRATING", to.id);
  to.pause();
  const answers = await Promise.all(Array.from({ length: 5 }, () => sendMessage(bff.url, "hi")));
  expect(answers.map(({ status }) => status)).toEqual([503, 503, 503, 503, 503]);
  await to.kill();
  await expect.poll(async () => (await fetch(`${bff.url}/healthz`)).status).toBe(200);
  await expect.poll(() => readyStatus(bff), { timeout: FAIL_OVER_MS }).toBe(503);
  expect(bff.log().filter(({ level }) => level === "fatal")).toEqual([]);
});

test("nodes that lost the scripts get them again", async () => {
  const bff = await start();
  expect((await sendMessage(bff.url, "before")).status).toBe(201);
  for (const { admin } of cluster.primaries) await admin.script("FLUSH");
  expect((await sendMessage(bff.url, "after")).status).toBe(201);
});

test("a Cluster that is down at the start does not keep the service from starting", async () => {
  for (const node of [...cluster.primaries, ...cluster.replicas]) await node.kill();
  const bff = await start();
  expect(await readCode(await sendMessage(bff.url, "hi"))).toBe("state_unavailable");
  await bff.waitForLine(({ reason }) => reason === "unreachable");
  for (const node of [...cluster.primaries, ...cluster.replicas]) await node.start();
  await expect.poll(() => readyStatus(bff), { timeout: FAIL_OVER_MS }).toBe(200);
  expect((await sendMessage(bff.url, "hi")).status).toBe(201);
});

test("a wrong password of a Cluster is named in the log, without the password", async () => {
  for (const { admin } of cluster.primaries) await admin.config("SET", "requirepass", "right");
  const bff = await startTestBff(emulator.url, {
    REDIS_URL: cluster.url.replace("redis://", "redis://:wrong-canary-password@"),
  });
  running.push(bff);
  await bff.waitForLine(({ reason }) => reason === "WRONGPASS");
  expect(await readCode(await sendMessage(bff.url, "hi"))).toBe("state_unavailable");
  expect(bff.lines.join("\n")).not.toContain("wrong-canary-password");
});

test("every route finds its keys in one slot", async () => {
  const bff = await start({ UPONAI_AGENT_ID: "agent-1", COOKIE_KEYS: "A".repeat(43) });
  const authorization = `Bearer ${await mintToken({ sub: "walker" })}`;
  const call = (method: string, path: string) =>
    fetch(`${bff.url}${path}`, { method, headers: { Authorization: authorization } });
  const headers = { Authorization: authorization, "Idempotency-Key": "key-1" };
  const statuses = [
    (await sendMessage(bff.url, "first", { headers })).status,
    (await sendMessage(bff.url, "first", { headers })).status,
    (await call("GET", "/chat/chat-1")).status,
    (await call("POST", "/chat")).status,
    (await call("POST", "/chat/chat-1/end")).status,
    (await call("GET", "/session")).status,
    (await call("DELETE", "/session")).status,
    (await call("GET", "/session")).status,
  ];
  expect(statuses).toEqual([201, 201, 200, 201, 204, 200, 204, 401]);
  const wrong = await sendMessage(bff.url, "hi", { headers: { Authorization: "Bearer wrong" } });
  expect(await readCode(wrong)).toBe("session_invalid");
  expect(stateLines(bff)).toEqual([]);
});
