/**
 * A Redis host name with several addresses, of which one is slow and the last refuses connections.
 */
import dns from "node:dns";
import { syncBuiltinESMExports } from "node:module";

import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest";

import type { RedisAddress } from "../../src/config/redis-url.ts";
import { createRedisClient, type RedisClient } from "../../src/platform/node/redis-client.ts";
import { type RedisServer, startRedis } from "../support/redis-server.ts";
import { SLOW_ADDRESS, type SlowPort, startSlowPort } from "../support/slow-port.ts";

/** Addresses that the name resolves to. */
const lookup = ((
  _name: string,
  _options: object,
  done: (error: null, addresses: readonly object[]) => void,
) => {
  const addresses = [SLOW_ADDRESS, "127.0.0.1"].map((address) => ({ address, family: 4 }));
  process.nextTick(done, null, addresses);
}) as unknown as typeof dns.lookup;

let redis: RedisServer;
let slow: SlowPort;
let client: RedisClient;

beforeAll(async () => {
  redis = await startRedis();
});
afterEach(() => {
  client.disconnect();
  slow.close();
  vi.restoreAllMocks();
  syncBuiltinESMExports();
});
afterAll(() => redis.kill());

async function connectTo(timeoutMs: number): Promise<readonly string[]> {
  vi.spyOn(dns, "lookup").mockImplementation(lookup);
  syncBuiltinESMExports();
  const address: RedisAddress = {
    kind: "single",
    node: { host: "redis.test", port: slow.port },
    credentials: {},
    tls: false,
    database: 0,
  };
  const told: string[] = [];
  const { promise, resolve } = Promise.withResolvers<void>();
  client = createRedisClient(address, timeoutMs, {
    up: () => {
      told.push("up");
      resolve();
    },
    down: () => undefined,
    hint: () => undefined,
    failed: (reason) => {
      told.push(reason);
      resolve();
    },
  });
  await promise;
  return told;
}

test("the slow address is waited for: the first attempt succeeds", async () => {
  slow = await startSlowPort(redis.port);
  const told = connectTo(20_000);
  setTimeout(slow.open, 600);
  expect(await told).toEqual(["up"]);
  expect(await client.ping()).toBe("PONG");
});

test("the attempt fails by its own time limit, and the next one succeeds", async () => {
  slow = await startSlowPort(redis.port);
  const startedMs = performance.now();
  expect(await connectTo(1_000)).toEqual(["ETIMEDOUT"]);
  expect(performance.now() - startedMs).toBeGreaterThan(990);
  slow.open();
  await expect.poll(() => client.status).toBe("ready");
});
