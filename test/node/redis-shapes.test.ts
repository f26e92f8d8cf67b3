/** The connection to Redis in each deployment: one server, a Cluster, and behind Sentinels. */
import { spawn } from "node:child_process";
import { once } from "node:events";

import { Redis } from "ioredis";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";

import { probeScript } from "../../src/admission/lua/scripts.ts";
import { cutOffScript } from "../../src/admission/lua/sessions.ts";
import { redisUrl } from "../../src/config/redis-url.ts";
import type { RunningEmulator } from "../../src/emulator/listen.ts";
import { createNodeRedis, type NodeRedis } from "../../src/platform/node/redis.ts";
import {
  bffEnvironment,
  readCode,
  sendMessage,
  startTestBff,
  startTestEmulator,
} from "../support/bff-fixture.ts";
import { startCluster } from "../support/redis-cluster.ts";
import { PRIMARY_NAME, startSentinels } from "../support/redis-sentinel.ts";
import { type RedisServer, startRedis } from "../support/redis-server.ts";

interface Shape {
  readonly url: string;
  /** The server that serves `KEY`. */
  readonly primary: RedisServer;
  /** All servers that can run a command. */
  readonly servers: readonly RedisServer[];
  stop(): Promise<void>;
}

const KEY = "bff:{ws:42}:e";

const shapes: readonly (readonly [string, () => Promise<Shape>])[] = [
  [
    "one server",
    async () => {
      const server = await startRedis();
      return { url: server.url, primary: server, servers: [server], stop: () => server.kill() };
    },
  ],
  [
    "a Cluster",
    async () => {
      const cluster = await startCluster(0);
      const primary = await cluster.ownerOf(KEY);
      return { url: cluster.url, primary, servers: cluster.primaries, stop: () => cluster.stop() };
    },
  ],
  [
    "Sentinels",
    async () => {
      const group = await startSentinels();
      const { hosts, primary, replica } = group;
      const url = `redis+sentinel://${hosts}/${PRIMARY_NAME}`;
      return { url, primary, servers: [primary, replica], stop: () => group.stop() };
    },
  ],
];

const TIMEOUT_MS = 200;

describe.each(shapes)("%s", (_name, startShape) => {
  let shape: Shape;
  let connection: NodeRedis;
  let emulator: RunningEmulator;

  beforeAll(async () => {
    emulator = await startTestEmulator();
    shape = await startShape();
    const log = { log: () => undefined };
    connection = createNodeRedis(redisUrl.parse(shape.url), TIMEOUT_MS, log);
    expect(await connection.connected(5_000)).toBeUndefined();
  });
  afterEach(() => shape.primary.resume());
  afterAll(async () => {
    connection.close();
    await shape.stop();
    await emulator.close();
  });

  const countRuns = async (): Promise<number> => {
    const counts = await Promise.all(
      shape.servers.map(async ({ port }) => {
        const redis = new Redis(port);
        const stats = await redis.info("commandstats");
        redis.disconnect();
        // Each script of the service calls TIME once; the commands that set up a connection do not.
        const calls = [...stats.matchAll(/cmdstat_time:calls=(\d+)/g)];
        return calls.reduce((sum, [, count]) => sum + Number(count), 0);
      }),
    );
    return counts.reduce((sum, count) => sum + count, 0);
  };

  test("a command whose connection broke may have run: it does not run again", async () => {
    await connection.run(probeScript, [KEY], []);
    const before = await countRuns();
    shape.primary.pause();
    // The server has the commands in its buffer and hangs. The client closes the connection, but
    // the server still runs them. It is back right after, so that repeated commands would run as
    // well.
    setTimeout(() => shape.primary.resume(), TIMEOUT_MS * 4 + 20);
    const orders = Array.from({ length: 5 }, () => connection.run(cutOffScript, [KEY], [60_000]));
    const results = await Promise.allSettled(orders);
    expect(results.map(({ status }) => status)).not.toContain("fulfilled");
    await expect.poll(countRuns).toBe(before + 5);
    // Repeated commands would use the new connection, which is open when this command is answered.
    await expect
      .poll(() => connection.run(probeScript, [KEY], []).catch(() => "failed"), { timeout: 10_000 })
      .toBeTypeOf("number");
    const probes = (await countRuns()) - before - 5;
    expect(probes).toBe(1);
  });

  test("uponai-bff revoke reaches it", async () => {
    const bff = await startTestBff(emulator.url, { REDIS_URL: shape.url });
    expect((await sendMessage(bff.url, "before")).status).toBe(201);
    const entry = new URL("../../dist/cli/main.js", import.meta.url).pathname;
    const child = spawn(process.execPath, [entry, "revoke", "--all"], {
      env: { PATH: process.env["PATH"], ...bffEnvironment(emulator.url, { REDIS_URL: shape.url }) },
      stdio: "ignore",
    });
    const [code] = await once(child, "exit");
    expect(code).toBe(0);
    expect(await readCode(await sendMessage(bff.url, "after"))).toBe("session_revoked");
    await bff.stop();
  });

  test("without a connection a command fails at once, and a new connection is reported", async () => {
    const ready: unknown[] = [];
    connection.onReady(() => ready.push(true));
    await shape.primary.kill();
    await expect
      .poll(() => connection.run(probeScript, [KEY], []).catch(() => "failed"))
      .toBe("failed");
    const startedMs = performance.now();
    const tries = Array.from({ length: 100 }, () => connection.run(probeScript, [KEY], []));
    const results = await Promise.allSettled(tries);
    expect(performance.now() - startedMs).toBeLessThan(TIMEOUT_MS);
    expect(results.map(({ status }) => status)).not.toContain("fulfilled");
    await shape.primary.start();
    await expect
      .poll(
        () =>
          connection.run(probeScript, [KEY], []).then(
            () => ready.length,
            () => 0,
          ),
        {
          timeout: 20_000,
        },
      )
      .toBeGreaterThan(0);
  });
});
