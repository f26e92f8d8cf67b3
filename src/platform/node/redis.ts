/** Owns the connection to Redis on Node: one client, shared, that fails fast and heals itself. */
import { Redis, ReplyError } from "ioredis";

import type { RedisConnection } from "../../admission/redis-state.ts";
import { redisScripts } from "../../admission/scripts.ts";
import type { Logger } from "../../logger.ts";
import { readErrorCode } from "../redis-error-code.ts";

export interface NodeRedis extends RedisConnection {
  /** Resolves once it is connected; with a word for what failed when that takes longer. */
  readonly connected: (timeoutMs: number) => Promise<string | undefined>;
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

  /** Undefined until either was seen; each change is said once, not each of its thousand effects. */
  let reachable: boolean | undefined;
  const succeeded = () => {
    if (reachable === false) log.log("info", "state is reachable again");
    reachable = true;
  };
  let closing = false;
  const failed = (reason: string) => {
    // Our own goodbye is no outage.
    if (closing) return;
    if (reachable !== false) log.log("error", "state is unreachable", { reason });
    reachable = false;
  };
  redis.on("error", (error: Error) => failed(readErrorCode(error)));
  redis.on("close", () => {
    usable = false;
    failed("closed");
  });

  // The client goes on in database 0 where the one that was meant cannot be had; we do not.
  let usable = false;
  const listeners = new Set<() => void>();
  redis.on("ready", () => {
    redis.select(redis.options.db ?? 0).then(
      () => {
        usable = true;
        for (const listener of listeners) listener();
      },
      (error: unknown) => failed(readErrorCode(error)),
    );
  });

  const run: RedisConnection["run"] = async (script, keys, args) => {
    const command: unknown = Reflect.get(redis, script.name);
    if (typeof command !== "function") throw new Error("script is not defined");
    if (!usable) throw new Error("there is no connection");
    try {
      // What a defined command returns is unknown to its types; `redis-state.ts` checks it.
      const reply: unknown = await Reflect.apply(command, redis, [keys.length, ...keys, ...args]);
      succeeded();
      return reply;
    } catch (error) {
      // Without a connection the reason was said when it broke.
      if (error instanceof ReplyError) failed(readErrorCode(error));
      throw error;
    }
  };

  return {
    run,
    onReady: (listener) => void listeners.add(listener),
    connected: (waitMs) =>
      new Promise((resolve) => {
        let reason = "timeout";
        const timer = setTimeout(() => resolve(reason), waitMs);
        const done = () => {
          clearTimeout(timer);
          resolve(undefined);
        };
        if (usable) done();
        listeners.add(done);
        redis.on("error", (error: Error) => {
          reason = readErrorCode(error);
        });
      }),
    close: () => {
      closing = true;
      redis.disconnect();
    },
  };
}
