/** Starts a real Redis primary with a replica, and three Sentinels that monitor them. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { Redis } from "ioredis";

import { type RedisServer, startRedis, toArguments } from "./redis-server.ts";

export interface SentinelGroup {
  /** `REDIS_URL` of the Sentinels, without credentials. */
  readonly hosts: string;
  readonly primary: RedisServer;
  readonly replica: RedisServer;
  readonly sentinels: readonly RedisServer[];
  stop(): Promise<void>;
}

export const PRIMARY_NAME = "main";
/** Time after which the primary counts as dead, in milliseconds. */
const DOWN_AFTER_MS = 1_000;
const SENTINELS = 3;
const QUORUM = 2;

export interface SentinelGroupOptions {
  /** Password of the servers that hold the data. */
  readonly password?: string;
  readonly sentinelPassword?: string;
}

export async function startSentinels(options: SentinelGroupOptions = {}): Promise<SentinelGroup> {
  const { password, sentinelPassword } = options;
  const folder = mkdtempSync(join(tmpdir(), "bff-sentinel-"));
  const auth = password === undefined ? [] : ["--requirepass", password, "--masterauth", password];
  // The replica is synchronised at once, without a wait for further ones.
  const primary = await startRedis([...auth, ...toArguments({ "repl-diskless-sync-delay": 0 })]);
  const replica = await startRedis([
    ...auth,
    ...toArguments({
      dir: folder,
      replicaof: `127.0.0.1 ${primary.port}`,
      "repl-diskless-sync-delay": 0,
    }),
  ]);
  await waitFor(replica, password, (redis) => redis.info("replication"), /master_link_status:up/);

  const sentinels: RedisServer[] = [];
  for (let index = 0; index < SENTINELS; index += 1) {
    const file = join(folder, `${index}.conf`);
    const lines = [
      `sentinel monitor ${PRIMARY_NAME} 127.0.0.1 ${primary.port} ${QUORUM}`,
      `sentinel down-after-milliseconds ${PRIMARY_NAME} ${DOWN_AFTER_MS}`,
      `sentinel failover-timeout ${PRIMARY_NAME} 3000`,
      ...(password === undefined ? [] : [`sentinel auth-pass ${PRIMARY_NAME} ${password}`]),
      ...(sentinelPassword === undefined ? [] : [`requirepass ${sentinelPassword}`]),
    ];
    writeFileSync(file, `${lines.join("\n")}\n`);
    sentinels.push(await startRedis(["--sentinel", ...toArguments({ dir: folder })], file));
  }
  for (const sentinel of sentinels) {
    await waitFor(
      sentinel,
      sentinelPassword,
      async (redis) => String(await redis.call("INFO", "sentinel")),
      /status=ok,.*slaves=1,sentinels=3/,
    );
  }
  const stop = async () => {
    for (const server of [...sentinels, replica, primary]) {
      server.resume();
      await server.kill();
    }
    rmSync(folder, { recursive: true, force: true });
  };
  return {
    hosts: sentinels.map(({ port }) => `127.0.0.1:${port}`).join(),
    primary,
    replica,
    sentinels,
    stop,
  };
}

async function waitFor(
  { port }: RedisServer,
  password: string | undefined,
  ask: (redis: Redis) => Promise<string>,
  answer: RegExp,
): Promise<void> {
  const redis = new Redis(port, {
    enableReadyCheck: false,
    ...(password !== undefined && { password }),
  });
  const giveUpAt = Date.now() + 20_000;
  while (!answer.test(await ask(redis))) {
    if (Date.now() > giveUpAt) throw new Error(`no ${answer.source} on port ${port}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  redis.disconnect();
}
