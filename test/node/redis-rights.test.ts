/**
 * Restricted Redis servers: one that grants its user only the rights in `docs/redis.md`, one that
 * denies some of them, and some that hide commands or close idle connections, as hosted ones and
 * proxies do.
 */
import { connect, createServer, type Socket } from "node:net";

import { Redis } from "ioredis";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";

import { probeScript, redisScripts } from "../../src/admission/lua/scripts.ts";
import { redisUrl } from "../../src/config/redis-url.ts";
import type { RunningEmulator } from "../../src/emulator/listen.ts";
import { createNodeRedis } from "../../src/platform/node/redis.ts";
import { watchRedis } from "../../src/platform/node/watch-redis.ts";
import {
  ask,
  bffEnvironment,
  readCode,
  sendMessage,
  startTestBff,
  startTestEmulator,
} from "../support/bff-fixture.ts";
import type { BffProcess } from "../support/bff-process.ts";
import { createTestChat, tell } from "../support/chat-fixture.ts";
import { runCli } from "../support/cli.ts";
import { type RedisCluster, startCluster } from "../support/redis-cluster.ts";
import { readRules } from "../support/redis-rights.ts";
import { PRIMARY_NAME, type SentinelGroup, startSentinels } from "../support/redis-sentinel.ts";
import { type RedisServer, startRedis } from "../support/redis-server.ts";
import { mintToken } from "../support/session-tokens.ts";

const DATA_RULES = readRules("bff");
const COMMANDS = DATA_RULES.filter((rule) => rule.startsWith("+"));

let emulator: RunningEmulator;
let redis: RedisServer;
let admin: Redis;
const running: BffProcess[] = [];
const servers: RedisServer[] = [];

beforeAll(async () => {
  [emulator, redis] = await Promise.all([startTestEmulator(), startRedis()]);
  admin = new Redis(redis.url);
});
afterEach(async () => {
  await Promise.all(running.splice(0).map((bff) => bff.stop()));
  await Promise.all(servers.splice(0).map((server) => server.kill()));
});
afterAll(async () => {
  admin.disconnect();
  await Promise.all([emulator.close(), redis.kill()]);
});

async function start(url: string, more: Record<string, string> = {}): Promise<BffProcess> {
  const bff = await startTestBff(emulator.url, { REDIS_URL: url, REDIS_TIMEOUT: "2s", ...more });
  running.push(bff);
  return bff;
}

async function startOther(args: readonly string[]): Promise<RedisServer> {
  const server = await startRedis(args);
  servers.push(server);
  return server;
}

let users = 0;
/** Creates a user with these rules and returns the URL with its name. */
async function grant(rules: readonly string[]): Promise<string> {
  users += 1;
  await admin.call("ACL", "SETUSER", `user-${users}`, "on", ">user-canary", ...rules);
  return `redis://user-${users}:user-canary@127.0.0.1:${redis.port}`;
}

interface Proxy {
  readonly port: number;
  /**
   * Closes the open connection. Resolves when the next one arrives, which passes only when
   * released.
   */
  closeAndHold(reset: boolean): Promise<() => void>;
  close(): void;
}

/** A proxy in front of Redis that closes idle connections. */
async function startProxy(redisPort: number): Promise<Proxy> {
  const open = new Set<Socket>();
  let hold: ((release: () => void) => void) | undefined;
  const server = createServer((client) => {
    open.add(client);
    client.on("error", () => undefined);
    const pass = () => {
      const upstream = connect(redisPort, "127.0.0.1");
      upstream.on("error", () => client.destroy());
      client.on("close", () => upstream.destroy());
      upstream.on("close", () => client.destroy());
      client.pipe(upstream).pipe(client);
    };
    if (hold === undefined) pass();
    else hold(pass);
    hold = undefined;
  });
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  const endAll = (reset: boolean) => {
    for (const client of open) {
      if (reset) client.resetAndDestroy();
      else client.destroy();
    }
    open.clear();
  };
  return {
    port: address.port,
    closeAndHold: (reset) => {
      const { promise, resolve } = Promise.withResolvers<() => void>();
      hold = resolve;
      endAll(reset);
      return promise;
    },
    close: () => {
      endAll(false);
      server.close();
    },
  };
}

function stateLines(bff: BffProcess) {
  return bff.log().filter(({ msg }) => String(msg).startsWith("state is"));
}

/** Runs each operation of the service on its state once. */
async function expectLife(bff: BffProcess, redisUrlOfUser: string): Promise<void> {
  await expect.poll(async () => (await fetch(`${bff.url}/readyz`)).status).toBe(200);
  const chat = createTestChat(emulator);
  const subject = `user-${chat.chatId}`;
  const send = (words: string) => tell(chat.send(bff.url, words, { subject, key: words }));
  expect(await send("first")).toMatchObject({ status: 201, replayed: false });
  expect(await send("first")).toMatchObject({ status: 201, replayed: true });
  // A key that is not remembered, an unknown outcome, and one whose answer is recovered.
  chat.addFault({ kind: "status", status: 429 });
  expect(await send("busy")).toMatchObject({ status: 503 });
  chat.addFault({ kind: "reset-before" });
  expect(await send("lost")).toMatchObject({ status: 504, code: "outcome_unknown" });
  expect(await send("lost")).toMatchObject({ status: 504, code: "outcome_unknown" });
  expect((await ask(bff.url, `GET /chat/${chat.chatId}`, { subject })).status).toBe(200);
  expect((await ask(bff.url, "POST /chat", { subject })).status).toBe(201);
  const wrong = { headers: { Authorization: "Bearer a.b.c" } };
  expect((await ask(bff.url, "GET /session", wrong)).status).toBe(401);
  const login = { subject, claims: { sid: subject } };
  expect((await ask(bff.url, "DELETE /session", login)).status).toBe(204);
  expect(await readCode(await ask(bff.url, "GET /session", login))).toBe("session_revoked");
  const environment = bffEnvironment(emulator.url, { REDIS_URL: redisUrlOfUser });
  expect(await runCli(["revoke", "--subject", subject], environment)).toMatchObject({ code: 0 });
  expect(await readCode(await ask(bff.url, "GET /session", { subject }))).toBe("session_revoked");
  expect(stateLines(bff)).toEqual([]);
  expect(bff.log().filter(({ settled }) => settled === "unavailable")).toEqual([]);
}

function listCommands(lua: string): Set<string> {
  const calls = [...lua.matchAll(/redis\.p?call\('(\w+)'/g)];
  return new Set(calls.map(([, name = ""]) => name.toLowerCase()));
}

async function define(port: number, user: string, rules: readonly string[]): Promise<void> {
  const node = new Redis(port, { enableReadyCheck: false });
  await node.call("ACL", "SETUSER", user, "on", ">user-canary", ...rules);
  node.disconnect();
}

const QUICK = { UPSTREAM_TIMEOUT: "2s", RECOVERY_WINDOW: "1s", UPONAI_AGENT_ID: "agent" };

test("the page lists every command that a script runs, and the probe of /readyz runs each", () => {
  const used = listCommands(redisScripts.map(({ lua }) => lua).join("\n"));
  expect(listCommands(probeScript.lua)).toEqual(used);
  expect(COMMANDS.toSorted()).toEqual(
    ["eval", "evalsha", ...used].map((name) => `+${name}`).toSorted(),
  );
});

describe("a user with exactly the rights that the page lists", () => {
  test("is served in everything, and is refused nothing on the way", async () => {
    await admin.call("ACL", "LOG", "RESET");
    const url = await grant(DATA_RULES);
    await expectLife(await start(url, QUICK), url);
    expect(await admin.call("ACL", "LOG")).toEqual([]);
  });

  test("needs the right to SELECT for a database other than 0; without it the log says so", async () => {
    const url = await grant(DATA_RULES);
    const bff = await start(`${url}/3`);
    expect(await readCode(await sendMessage(bff.url, "hi"))).toBe("state_unavailable");
    await bff.waitForLine(({ reason }) => reason === "NOPERM");
    // The service works as soon as the right is granted, on the same connection.
    await admin.call("ACL", "SETUSER", `user-${users}`, "+select");
    await expect.poll(async () => (await fetch(`${bff.url}/readyz`)).status).toBe(200);
    expect((await sendMessage(bff.url, "hi")).status).toBe(201);
    expect(stateLines(bff).map(({ msg, reason }) => [msg, reason])).toEqual([
      ["state is unreachable: requests get 503 until it is back", "NOPERM"],
      ["state is reachable again", undefined],
    ]);
  });

  test("makes doctor report which checks it cannot run, and that the others pass", async () => {
    const url = await grant(DATA_RULES);
    const { code, stdout } = await runCli(
      ["doctor", "--json"],
      bffEnvironment(emulator.url, { REDIS_URL: url }),
    );
    expect(code).toBe(0);
    const { checks } = JSON.parse(stdout) as { checks: { check: string; detail: string }[] };
    expect(checks).toContainEqual(
      expect.objectContaining({ check: "state settings", detail: expect.stringMatching(/NOPERM/) }),
    );
    const richer = await grant([...DATA_RULES, ...readRules("bff-doctor")]);
    const second = await runCli(
      ["doctor", "--json"],
      bffEnvironment(emulator.url, { REDIS_URL: richer }),
    );
    expect(second.stdout).not.toMatch(/NOPERM|does not tell|does not say/);
  });
});

describe.each([...COMMANDS, "~bff:*"])("without %s", (right) => {
  test("the service, doctor and revoke name NOPERM, and nothing hangs", async () => {
    const url = await grant(DATA_RULES.filter((rule) => rule !== right));
    const environment = bffEnvironment(emulator.url, { REDIS_URL: url });
    const [bff, doctor] = await Promise.all([
      start(url),
      runCli(["doctor", "--json"], environment),
    ]);
    expect(doctor.code).toBe(1);
    expect(doctor.stdout).toContain("NOPERM");
    expect(doctor.stdout).toContain("docs/redis.md");
    // If EVALSHA is denied, only the second run of a script on a connection fails.
    await expect.poll(async () => (await fetch(`${bff.url}/readyz`)).status).toBe(503);
    await bff.waitForLine(({ reason }) => reason === "NOPERM");
    const { status } = await tell(createTestChat(emulator).send(bff.url, "hi"));
    expect([201, 503]).toContain(status);
    if (["+eval", "+time", "+get", "~bff:*"].includes(right)) {
      const revoke = await runCli(["revoke", "--all"], environment);
      expect(revoke.code).not.toBe(0);
      expect(revoke.stderr).toContain("NOPERM");
    }
  });
});

test("a Redis that does not know INFO, SELECT, CLIENT, HELLO and CONFIG serves database 0", async () => {
  const hidden = ["INFO", "SELECT", "CLIENT", "HELLO", "CONFIG"];
  const { url } = await startOther(hidden.flatMap((name) => ["--rename-command", name, ""]));
  for (const database of ["", "/0"]) {
    const bff = await start(`${url}${database}`, QUICK);
    await expectLife(bff, url);
  }
  const environment = bffEnvironment(emulator.url, { REDIS_URL: url });
  const { code, stdout } = await runCli(["doctor", "--json"], environment);
  expect(code).toBe(0);
  expect(stdout).toContain("does not tell its settings (INFO: ERR)");
});

describe("a Redis that closes idle connections", () => {
  test("is no outage: no line is written, and no request fails for it", async () => {
    const server = await startOther(["--timeout", "1"]);
    const bff = await start(server.url, { LIMIT_SESSION: "off", LIMIT_IP: "off" });
    const watcher = new Redis(server.url);
    const count = async () =>
      Number(/total_connections_received:(\d+)/.exec(await watcher.info("stats"))?.[1]);
    try {
      expect((await sendMessage(bff.url, "before")).status).toBe(201);
      const before = await count();
      // Redis checks for idle connections about once a second. Each was closed and opened again.
      await expect.poll(count, { timeout: 20_000, interval: 200 }).toBeGreaterThan(before + 2);
      expect((await sendMessage(bff.url, "after")).status).toBe(201);
      expect(stateLines(bff)).toEqual([]);
    } finally {
      watcher.disconnect();
    }
  });

  test("costs no request that comes in the gap", async () => {
    const proxy = await startProxy(redis.port);
    const bff = await start(`redis://127.0.0.1:${proxy.port}`);
    try {
      const headers = { Authorization: `Bearer ${await mintToken({ sub: "gap" })}` };
      const who = async () => (await fetch(`${bff.url}/session`, { headers })).status;
      expect(await who()).toBe(200);
      for (const reset of [false, true, false]) {
        // A connection that was closed early is opened again after a pause.
        await new Promise((resolve) => setTimeout(resolve, 600));
        const next = proxy.closeAndHold(reset);
        const release = await next;
        const answers = Promise.all([who(), who(), who()]);
        // If the commands did not wait, they would be refused by now.
        const early = await Promise.race([
          answers,
          new Promise((resolve) => setTimeout(resolve, 100, "waiting")),
        ]);
        expect(early).toBe("waiting");
        release();
        expect(await answers).toEqual([200, 200, 200]);
      }
      expect(stateLines(bff)).toEqual([]);
    } finally {
      proxy.close();
    }
  });

  test("is noticed before a command could be refused: at the end that Redis sends", async () => {
    const server = await startOther([]);
    const order: string[] = [];
    const { promise: usable, resolve: up } = Promise.withResolvers<void>();
    const note = (name: string) => () => void order.push(name);
    const client = watchRedis(
      new Redis(server.url, { enableReadyCheck: false, retryStrategy: () => null }),
      { database: 0, mayBeReplica: false },
      { up, down: note("down"), hint: note("hint"), failed: note("failed") },
    );
    await usable;
    client.stream.once("end", note("end"));
    const { promise: closed, resolve } = Promise.withResolvers<void>();
    client.on("close", note("close")).on("close", resolve);
    const watcher = new Redis(server.url);
    try {
      await watcher.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes");
      await closed;
      expect(order).toEqual(["down", "end", "close"]);
    } finally {
      watcher.disconnect();
    }
  });

  test("is an outage, logged once, if no new connection can be opened", async () => {
    const server = await startOther([]);
    const bff = await start(server.url);
    expect((await sendMessage(bff.url, "before")).status).toBe(201);
    await server.kill();
    await bff.waitForLine(
      ({ msg }) => msg === "state is unreachable: requests get 503 until it is back",
    );
    expect(await readCode(await sendMessage(bff.url, "hi"))).toBe("state_unavailable");
    expect(stateLines(bff)).toMatchObject([{ reason: "ECONNREFUSED", level: "error" }]);
    await server.start();
    await bff.waitForLine(({ msg }) => msg === "state is reachable again").catch(() => undefined);
  });

  test("by a server that hangs from then on, is an outage too, and commands fail at once then", async () => {
    const server = await startOther([]);
    const lines: unknown[] = [];
    const log = { log: (...line: unknown[]) => void lines.push(line) };
    const connection = createNodeRedis(redisUrl.parse(server.url), 300, log);
    const watcher = new Redis(server.url);
    try {
      expect(await connection.connected(5_000)).toBeUndefined();
      const probe = () =>
        connection.run(probeScript, ["bff:{probe}"], []).then(
          () => "done",
          () => "failed",
        );
      expect(await probe()).toBe("done");
      // Closes the connection, and answers nothing afterwards.
      await Promise.all([
        watcher.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"),
        watcher.client("PAUSE", 60_000),
      ]);
      expect(await probe()).toBe("failed");
      const startedMs = performance.now();
      expect(await Promise.all(Array.from({ length: 50 }, probe))).toEqual(
        Array.from({ length: 50 }, () => "failed"),
      );
      expect(performance.now() - startedMs).toBeLessThan(250);
      expect(lines).toHaveLength(1);
    } finally {
      connection.close();
      watcher.disconnect();
    }
  });
});

describe("in a Cluster", () => {
  let cluster: RedisCluster;
  const URL_OF = (user: string) => cluster.url.replace("//", `//${user}:user-canary@`);
  const defineAll = (user: string, rules: readonly string[]) =>
    Promise.all(cluster.primaries.map(({ port }) => define(port, user, rules)));
  beforeAll(async () => {
    cluster = await startCluster(0);
  });
  afterAll(() => cluster.stop());

  test("a user with the rights that the page adds is served in everything", async () => {
    await defineAll("full", [...DATA_RULES, ...readRules("bff-cluster")]);
    for (const { admin: node } of cluster.primaries) await node.call("ACL", "LOG", "RESET");
    await expectLife(await start(URL_OF("full"), QUICK), URL_OF("full"));
    for (const { admin: node } of cluster.primaries) {
      const refused = JSON.stringify(await node.call("ACL", "LOG"));
      // ioredis sets a name on the connection that reads the slots. It works without that right.
      expect(refused.replaceAll("client|setname", "").match(/"object","[^"]/g)).toBeNull();
    }
  });

  test("a user without the right to read the slots of a Cluster is logged as NOPERM", async () => {
    await defineAll("blind", DATA_RULES);
    const bff = await start(URL_OF("blind"));
    expect(await readCode(await sendMessage(bff.url, "hi"))).toBe("state_unavailable");
    await bff.waitForLine(({ reason }) => reason === "NOPERM");
  });

  test("a user without the right to run scripts is logged as NOPERM", async () => {
    const rules = [...DATA_RULES, ...readRules("bff-cluster")];
    await defineAll(
      "mute",
      rules.filter((rule) => !rule.startsWith("+eval")),
    );
    const bff = await start(URL_OF("mute"));
    expect(await readCode(await sendMessage(bff.url, "hi"))).toBe("state_unavailable");
    await bff.waitForLine(({ reason }) => reason === "NOPERM");
  });
});

describe("behind Sentinels", () => {
  let group: SentinelGroup;
  beforeAll(async () => {
    group = await startSentinels();
  });
  afterAll(() => group.stop());

  const urlOf = (sentinelUser: string) =>
    `redis+sentinel://data:user-canary@${group.hosts}/${PRIMARY_NAME}` +
    `?sentinelUsername=${sentinelUser}&sentinelPassword=user-canary`;

  test("users with the rights that the page adds are served in everything", async () => {
    const rules = [...DATA_RULES, ...readRules("bff-sentinel-data")];
    for (const { port } of [group.primary, group.replica]) await define(port, "data", rules);
    for (const { port } of group.sentinels) await define(port, "watch", readRules("bff-sentinel"));
    await expectLife(await start(urlOf("watch"), QUICK), urlOf("watch"));
  });

  test("a Sentinel user without the right to read the primary is logged as NOPERM", async () => {
    for (const { port } of group.sentinels) {
      await define(port, "blind", ["resetchannels", "-@all"]);
    }
    const bff = await start(urlOf("blind"));
    expect(await readCode(await sendMessage(bff.url, "hi"))).toBe("state_unavailable");
    await bff.waitForLine(({ reason }) => reason === "NOPERM");
  });
});
