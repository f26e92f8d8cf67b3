/** Owns the connection to Redis on Node: one client, shared, that fails fast and heals itself. */
import { Redis, ReplyError } from "ioredis";

import type { RedisConnection } from "../../admission/redis-state.ts";
import { redisScripts } from "../../admission/scripts.ts";
import type { Logger } from "../../logger.ts";

export interface NodeRedis extends RedisConnection {
  readonly close: () => void;
}

/** Longest pause between two attempts to reconnect, in milliseconds. */
const RECONNECT_MS_MAX = 1_000;

/**
 * @param url `redis://` or `rediss://`, with user, password and database as it likes
 * @param timeoutMs longest wait for an answer; a connection silent for four times as long is given up
 */
export function createNodeRedis(url: string, timeoutMs: number, log: Logger): NodeRedis {
  const redis = new Redis(url, {
    // While there is no connection every request must know at once, not wait in a queue.
    enableOfflineQueue: false,
    // A command whose connection broke may have run: it must not run again by itself.
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    connectTimeout: Math.max(timeoutMs, 1_000),
    // A Redis that hangs is hung up on, so that what waits for it does not pile up here.
    socketTimeout: timeoutMs * 4,
    retryStrategy: (times) => Math.min(50 * 2 ** Math.min(times, 5), RECONNECT_MS_MAX),
    // After a fail-over the old primary is read-only: the connection is made anew.
    reconnectOnError: (error) => readErrorCode(error) === "READONLY",
    // Commands of one turn of the event loop share a write.
    enableAutoPipelining: true,
  });
  for (const { name, lua } of redisScripts) redis.defineCommand(name, { lua });

  let reachable: boolean | undefined;
  redis.on("ready", () => {
    if (reachable === false) log.log("info", "state is reachable again");
    reachable = true;
  });
  redis.on("error", (error: Error) => {
    // Said once per outage; the client tries again several times a second.
    if (reachable !== false)
      log.log("error", "state is unreachable", { reason: readErrorCode(error) });
    reachable = false;
  });
  redis.on("close", () => {
    if (reachable === true) log.log("error", "state is unreachable", { reason: "closed" });
    reachable = false;
  });

  return {
    run: (script, keys, args) => {
      const command: unknown = Reflect.get(redis, script.name);
      if (typeof command !== "function") throw new Error("script is not defined");
      // What a defined command returns is unknown to its types; `redis-state.ts` checks it.
      return Reflect.apply(command, redis, [keys.length, ...keys, ...args]) as Promise<unknown>; // oxlint-disable-line typescript/no-unsafe-type-assertion
    },
    close: () => redis.disconnect(),
  };
}

/**
 * A word that names a failure without anything secret in it: a system error's code, or the error
 * code that starts a Redis error reply (`WRONGPASS`, `NOAUTH`, `READONLY`).
 */
function readErrorCode(error: Error): string {
  if ("code" in error && typeof error.code === "string") return error.code;
  if (error instanceof ReplyError) return /^[A-Z]+/.exec(error.message)?.[0] ?? "reply";
  return error.name;
}
