/** Owns what is checked of the state: that the service can use it, how fast it is, what it may lose. */
import { setTimeout } from "node:timers/promises";

import { Cluster, type Redis } from "ioredis";

import { createRedisState } from "../../admission/redis-state.ts";
import { compileStateSettings, type StateSettings } from "../../admission/state-settings.ts";
import type { Config } from "../../config/config.ts";
import type { RedisAddress } from "../../config/redis-url.ts";
import { systemClock } from "../../platform/clock.ts";
import { createNodeRedis } from "../../platform/node/redis.ts";
import { createRedisClient } from "../../platform/node/redis-client.ts";
import { readErrorCode } from "../../platform/redis-error-code.ts";
import type { Finding } from "./finding.ts";
import { describeSkew } from "./session-checks.ts";

type RedisConfig = Extract<Config["state"], { kind: "redis" }>;

const CHECK = "state";
const CONNECT_TIMEOUT_MS = 3_000;
const PROBES = 20;
/** A message makes two trips: more than this, and the state is a good part of its wait. */
const SLOW_TRIP_MS = 20;
const CONNECTION_PARTS = "hosts, ports, user, password, redis: or rediss:";
/** Of a `REDIS_URL` that leads nowhere. */
const WHAT_TO_CHECK: { readonly [Kind in RedisAddress["kind"]]: string } = {
  single: CONNECTION_PARTS,
  sentinel: "the Sentinels' hosts and ports, the primary's name, both passwords",
  cluster: `${CONNECTION_PARTS}; and that the Cluster is whole (redis-cli --cluster check)`,
};
const CLUSTER_SLOTS = 16_384;
const GRANT =
  "Grant the user of REDIS_URL the commands and the key pattern that docs/redis.md lists; ACL LOG names what was refused.";
/** Past this share of its memory, a Redis that evicts nothing soon refuses writes. */
const MEMORY_SHARE_MAX = 0.8;

export async function checkState(config: Config): Promise<readonly Finding[]> {
  const { state } = config;
  if (state.kind !== "redis") {
    // That it is for one instance alone is a warning of the configuration.
    return [{ check: CHECK, status: "ok", detail: "in the process; nothing to reach" }];
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

/** Does what the service's own readiness check does, some times over. */
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
        const detail = "Redis forbids its user a command or a key of the service (NOPERM)";
        return { check: CHECK, status: "fail", detail, action: GRANT };
      }
      const why = reason === undefined ? "" : ` (${reason})`;
      return {
        check: CHECK,
        status: "fail",
        detail: `Redis is there but runs no script that writes within REDIS_TIMEOUT${why}`,
        action:
          "Check that it is a primary with memory left, that its user may run scripts, and that it is near.",
      };
    }
    trips.push(systemClock.monotonicMs() - startedMs);
  }
  const medianMs = trips.toSorted((one, other) => one - other)[PROBES / 2] ?? 0;
  const detail = `Redis answers in ${medianMs.toFixed(1)} ms (median of ${PROBES})`;
  if (medianMs <= SLOW_TRIP_MS) return { check: CHECK, status: "ok", detail };
  const action = "Bring it nearer: a message makes two trips to it.";
  return { check: CHECK, status: "warn", detail, action };
}

type Info = ReadonlyMap<string, string>;

const isReady = ({ status }: Redis) => status === "ready";

/** What happens to the connection shows in the commands that follow. */
const ignore = () => undefined;

/** Asks the server, or one primary of a Cluster, about itself. */
async function inspect(address: RedisAddress): Promise<readonly Finding[]> {
  const { promise: up, resolve } = Promise.withResolvers<undefined>();
  const events = { up: () => resolve(undefined), down: ignore, hint: ignore, failed: ignore };
  const client = createRedisClient(address, CONNECT_TIMEOUT_MS, events);
  try {
    // Unreferenced: once the answers are here, nobody waits for it to end.
    await Promise.race([up, setTimeout(CONNECT_TIMEOUT_MS, undefined, { ref: false })]);
    const redis = client instanceof Cluster ? client.nodes("master").find(isReady) : client;
    if (redis === undefined) throw new Error("the Cluster has no primary that answers");
    const info = parseInfo(await redis.info());
    const [seconds = 0, micros = 0] = (await redis.time()).map(Number);
    const skewMs = seconds * 1_000 + micros / 1_000 - Date.now();
    return [
      describeSkew("Redis", skewMs),
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
        action: "Make sure of maxmemory-policy noeviction and of persistence yourself.",
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
        "Redis may drop keys when its memory is full: a limit starts anew, a logout is undone",
      action: "Set maxmemory-policy noeviction.",
    };
  }
  if (Number.isFinite(share) && share > MEMORY_SHARE_MAX) {
    return {
      check,
      status: "warn",
      detail: `${Math.round(share * 100)} % of Redis's memory is used; full, it refuses writes and nobody is served`,
      action: "Raise maxmemory.",
    };
  }
  return { check, status: "ok", detail: "Redis drops no key for want of memory" };
}

/** The save points of the configuration; undefined where that may not be read. */
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
    const action = "Look into Redis's log: its disk may be full.";
    return { check, status: "fail", detail: "Redis could not write to its disk", action };
  }
  if (info.get("aof_enabled") === "1") {
    return { check, status: "ok", detail: "Redis keeps an append-only file" };
  }
  const action = "Set appendonly yes, or accept that ended sessions come back until they expire.";
  if (save === undefined) {
    const detail = "Redis has no append-only file, and does not say whether it takes snapshots";
    return { check, status: "warn", detail, action };
  }
  const detail =
    save === ""
      ? "Redis keeps nothing on disk: a restart forgets limits and logouts"
      : "Redis takes snapshots only: a crash forgets the last minutes' limits and logouts";
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
    action: "Repair the cluster (redis-cli --cluster check): the other slots' workspaces are out.",
  };
}
