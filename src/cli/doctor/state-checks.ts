/** Checks the state: whether the service can use Redis, how fast it is, and what it can lose. */
import { setTimeout } from "node:timers/promises";

import { Cluster, type Redis } from "ioredis";

import { createRedisState } from "../../admission/redis-state.ts";
import { compileStateSettings, type StateSettings } from "../../admission/state-settings.ts";
import type { Config } from "../../config/config.ts";
import type { RedisAddress } from "../../config/redis-url.ts";
import { systemClock } from "../../platform/system.ts";
import { createNodeRedis } from "../../platform/node/redis.ts";
import { createRedisClient } from "../../platform/node/redis-client.ts";
import { readErrorCode } from "../../platform/redis-error-code.ts";
import { checkClock } from "./clock-check.ts";
import type { Finding } from "./finding.ts";

type RedisConfig = Extract<Config["state"], { kind: "redis" }>;

const CHECK = "state";
const CONNECT_TIMEOUT_MS = 3_000;
const PROBES = 20;
/** A message needs two round trips. Slower ones are a noticeable part of its latency. */
const SLOW_TRIP_MS = 20;
const CONNECTION_PARTS = "hosts, ports, user, password, and whether it needs rediss:// (TLS)";
/** What to check where no connection to `REDIS_URL` is possible. */
const WHAT_TO_CHECK: { readonly [Kind in RedisAddress["kind"]]: string } = {
  single: CONNECTION_PARTS,
  sentinel: "hosts and ports of the Sentinels, name of the primary, both passwords",
  cluster: `${CONNECTION_PARTS}. Check also that the Cluster is whole (redis-cli --cluster check)`,
};
const CLUSTER_SLOTS = 16_384;
const GRANT =
  "Grant the user of REDIS_URL the commands and the key pattern of docs/redis.md. ACL LOG on Redis lists what it refused.";
/** Above this share of used memory, a Redis with `noeviction` will soon refuse writes. */
const MEMORY_SHARE_MAX = 0.8;

/** Checks the state. For Redis it measures round trips and reads the settings of the server. */
export async function checkState(config: Config): Promise<readonly Finding[]> {
  const { state } = config;
  if (state.kind !== "redis") {
    // The warnings of the configuration say that it is for a single instance.
    return [
      {
        check: CHECK,
        status: "ok",
        detail: "the state is in the memory of the process: no connection to check",
      },
    ];
  }
  const { address, timeoutMs } = state;
  const connection = createNodeRedis(address, timeoutMs, { log: () => undefined });
  try {
    const failure = await connection.connected(CONNECT_TIMEOUT_MS);
    if (failure !== undefined) {
      return [
        {
          check: CHECK,
          status: "fail",
          detail: `Redis cannot be reached (${failure})`,
          action: failure === "NOPERM" ? GRANT : `Check REDIS_URL: ${WHAT_TO_CHECK[address.kind]}.`,
        },
      ];
    }
    const usable = await probe(state, compileStateSettings(config), connection);
    return [usable, ...(await inspect(address))];
  } finally {
    connection.close();
  }
}

/** Runs the readiness check of the service several times, and measures the round trips. */
async function probe(
  { prefix, timeoutMs }: RedisConfig,
  settings: StateSettings,
  connection: ReturnType<typeof createNodeRedis>,
): Promise<Finding> {
  const state = createRedisState({
    connection,
    prefix,
    timeoutMs,
    settings,
    clock: systemClock,
  });
  const trips: number[] = [];
  for (let round = 0; round < PROBES; round += 1) {
    const startedMs = systemClock.monotonicMs();
    if (!(await state.isReachable())) {
      const reason = connection.lastFailure();
      if (reason === "NOPERM") {
        const detail = "Redis refuses a command or a key that the service needs (NOPERM)";
        return { check: CHECK, status: "fail", detail, action: GRANT };
      }
      const why = reason === undefined ? "" : ` (${reason})`;
      return {
        check: CHECK,
        status: "fail",
        detail: `Redis accepts connections but does not run a script that writes within REDIS_TIMEOUT${why}`,
        action:
          "Check that the server is a primary with free memory, that the user may run scripts, and that the network is fast enough.",
      };
    }
    trips.push(systemClock.monotonicMs() - startedMs);
  }
  const medianMs = trips.toSorted((one, other) => one - other)[PROBES / 2] ?? 0;
  const detail = `Redis answers in ${medianMs.toFixed(1)} ms (median of ${PROBES})`;
  if (medianMs <= SLOW_TRIP_MS) return { check: CHECK, status: "ok", detail };
  const action = "Run Redis closer to the service: every message needs two round trips.";
  return { check: CHECK, status: "warn", detail, action };
}

type Info = ReadonlyMap<string, string>;

const isReady = ({ status }: Redis) => status === "ready";

/** Connection events need no handling: a failure shows in the commands that follow. */
const ignore = () => undefined;

/** Reads the settings of the server, or of one primary of a Cluster. */
async function inspect(address: RedisAddress): Promise<readonly Finding[]> {
  const { promise: up, resolve } = Promise.withResolvers<undefined>();
  const events = { up: () => resolve(undefined), down: ignore, hint: ignore, failed: ignore };
  const client = createRedisClient(address, CONNECT_TIMEOUT_MS, events);
  try {
    // Unreferenced: this timer must not delay the end of the process.
    await Promise.race([up, setTimeout(CONNECT_TIMEOUT_MS, undefined, { ref: false })]);
    const redis = client instanceof Cluster ? client.nodes("master").find(isReady) : client;
    if (redis === undefined) throw new Error("the Cluster has no primary that answers");
    const info = parseInfo(await redis.info());
    const [seconds = 0, micros = 0] = (await redis.time()).map(Number);
    const skewMs = seconds * 1_000 + micros / 1_000 - Date.now();
    return [
      checkClock("Redis", skewMs),
      checkEviction(info),
      checkPersistence(info, await readSave(redis)),
      ...(info.get("cluster_enabled") === "1"
        ? [checkCluster(parseInfo(String(await redis.call("CLUSTER", "INFO"))))]
        : []),
    ];
  } catch (error) {
    return [
      {
        check: "state settings",
        status: "warn",
        detail: `Redis does not tell its settings (INFO: ${readErrorCode(error)})`,
        action:
          "Check yourself that maxmemory-policy is noeviction and that persistence is on, or grant the rights that docs/redis.md lists for doctor.",
      },
    ];
  } finally {
    client.disconnect();
  }
}

function parseInfo(text: string): Info {
  const pairs = text.split("\r\n").flatMap((line): [string, string][] => {
    const at = line.indexOf(":");
    return at === -1 ? [] : [[line.slice(0, at), line.slice(at + 1)]];
  });
  return new Map(pairs);
}

function checkEviction(info: Info): Finding {
  const check = "eviction";
  const policy = info.get("maxmemory_policy");
  const share = Number(info.get("used_memory")) / Number(info.get("maxmemory"));
  if (policy !== "noeviction") {
    return {
      check,
      status: "warn",
      detail:
        "Redis can delete keys when its memory is full: limits start again, and ended sessions become valid again",
      action: "Set maxmemory-policy noeviction in Redis.",
    };
  }
  if (Number.isFinite(share) && share > MEMORY_SHARE_MAX) {
    return {
      check,
      status: "warn",
      detail: `Redis uses ${Math.round(share * 100)} % of its memory. When it is full, it refuses writes and the service answers 503`,
      action: "Increase maxmemory.",
    };
  }
  return {
    check,
    status: "ok",
    detail: "Redis deletes no keys when its memory is full (noeviction)",
  };
}

/** Reads the snapshot settings; undefined where the user may not read them. */
async function readSave(redis: Redis): Promise<string | undefined> {
  try {
    const reply: unknown = await redis.call("CONFIG", "GET", "save");
    return Array.isArray(reply) ? String(reply[1]) : undefined;
  } catch {
    return undefined;
  }
}

function checkPersistence(info: Info, save: string | undefined): Finding {
  const check = "persistence";
  const broken = ["aof_last_write_status", "rdb_last_bgsave_status"].some(
    (name) => (info.get(name) ?? "ok") !== "ok",
  );
  if (broken) {
    const action = "Read the log of Redis. Its disk can be full.";
    return {
      check,
      status: "fail",
      detail: "the last write of Redis to its disk failed: a restart can lose limits and logouts",
      action,
    };
  }
  if (info.get("aof_enabled") === "1") {
    return { check, status: "ok", detail: "Redis writes an append-only file" };
  }
  const action =
    "Set appendonly yes, or accept that after a restart of Redis ended sessions are valid again until they expire.";
  if (save === undefined) {
    const detail = "Redis writes no append-only file, and does not say whether it writes snapshots";
    return { check, status: "warn", detail, action };
  }
  const detail =
    save === ""
      ? "Redis keeps nothing on disk: a restart loses limits and logouts"
      : "Redis writes snapshots only: a crash loses the limits and logouts of the last minutes";
  return { check, status: "warn", detail, action };
}

function checkCluster(info: Info): Finding {
  const check = "cluster";
  const served = Number(info.get("cluster_slots_ok"));
  if (info.get("cluster_state") === "ok" && served === CLUSTER_SLOTS) {
    return { check, status: "ok", detail: `all ${CLUSTER_SLOTS} slots are served` };
  }
  return {
    check,
    status: "fail",
    detail: `${served} of ${CLUSTER_SLOTS} slots are served`,
    action:
      "Repair the Cluster (redis-cli --cluster check). The service cannot serve workspaces in the other slots.",
  };
}
