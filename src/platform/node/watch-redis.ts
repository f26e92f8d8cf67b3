/**
 * Decides when the connection to one Redis server is usable, and how long to wait before the next
 * attempt to connect.
 *
 * ioredis runs `INFO` to see whether a server is ready. Many users may not run it and many proxies
 * do not know it. This module runs a script instead, a right that the service needs anyway.
 */
import { setTimeout } from "node:timers/promises";

import { type Redis, ReplyError } from "ioredis";

import type { Clock } from "../../clock.ts";
import { readErrorCode } from "../redis-error-code.ts";

/** Events of a client's connections. A `reason` is an error code, see `readErrorCode`. */
export interface RedisEvents {
  /** The connection is usable: commands may be sent. */
  readonly up: () => void;
  /** The connection is lost: no command may be sent until `up`. */
  readonly down: (reason: string) => void;
  /** An error that may explain a later failure; in a Cluster it may concern one node only. */
  readonly hint: (reason: string) => void;
  /** Commands cannot be answered; `refused` is true where Redis answered with an error. */
  readonly failed: (reason: string, refused?: boolean) => void;
}

/** Longest pause between two attempts to connect, in milliseconds. */
const PAUSE_MS_MAX = 1_000;
/**
 * After a connection that was usable for this long, the next attempt has no pause; in milliseconds.
 */
const LASTED_MS = 500;

/**
 * Returns the pause before an attempt, in milliseconds: 100 to 1,000, doubled each time.
 *
 * @param attempt counted from 1
 */
export function backOff(attempt: number): number {
  return Math.min(50 * 2 ** Math.min(attempt, 5), PAUSE_MS_MAX);
}

export interface Reconnects {
  /** Returns the pause before the next attempt to connect, in milliseconds. */
  next(): number;
  /** Must be called when a connection has become usable. */
  usable(): void;
}

/**
 * Creates the pauses between attempts to connect. After a connection that lasted there is no pause:
 * Redis or a proxy has closed it while idle, and a request may arrive at any moment. After a
 * connection that broke at once there is one, so that the client does not connect in a tight loop.
 */
export function createReconnects(clock: Clock): Reconnects {
  let attempt = 0;
  let usableSinceMs: number | undefined;
  return {
    next() {
      const lasted =
        usableSinceMs !== undefined && clock.monotonicMs() - usableSinceMs >= LASTED_MS;
      usableSinceMs = undefined;
      attempt = lasted ? 0 : attempt + 1;
      return attempt === 0 ? 0 : backOff(attempt);
    },
    usable() {
      usableSinceMs = clock.monotonicMs();
    },
  };
}

export interface WatchOptions {
  /** Number of the database. 0 needs no `SELECT`, which some proxies refuse. */
  readonly database: number;
  /**
   * Whether the server may be a replica, as after a fail-over that the Sentinel has not seen yet.
   */
  readonly mayBeReplica: boolean;
}

/** Reports the events of a client of one server. `up` comes only when the server runs scripts. */
export function watchRedis(
  redis: Redis,
  { database, mayBeReplica }: WatchOptions,
  events: RedisEvents,
): Redis {
  /** Number of the connection, so that a late result of an earlier one is ignored. */
  let connection = 0;
  const fail = (error: unknown) => {
    const code = readErrorCode(error);
    events.hint(code);
    events.failed(code, error instanceof ReplyError);
  };

  const becomeUsable = async () => {
    connection += 1;
    const own = connection;
    const isCurrent = () => own === connection;
    for (let attempt = 1; isCurrent(); attempt += 1) {
      try {
        // ioredis would use database 0 where this one cannot be selected. Here that is a failure.
        if (database !== 0) await redis.select(database);
        await redis.eval("return 1", 0);
        if (!mayBeReplica || !(await isReplica(redis))) {
          if (isCurrent()) events.up();
          return;
        }
        events.hint("READONLY");
        events.failed("READONLY", true);
      } catch (error) {
        // The `close` event reports the end of the connection.
        if (!isCurrent() || !(error instanceof ReplyError)) return;
        fail(error);
      }
      // Tries again: an operator may grant the right, and a Redis that loads its data becomes
      // ready.
      await setTimeout(backOff(attempt), undefined, { ref: false });
      if (mayBeReplica && isCurrent()) {
        // Behind Sentinels another server may be the primary by now.
        redis.disconnect(true);
        return;
      }
    }
  };

  /** Whether the loss of this connection is reported. */
  let isReported = false;
  const lose = () => {
    if (isReported) return;
    isReported = true;
    connection += 1;
    events.down("closed");
  };

  redis.on("error", fail);
  // From the end of the stream on, ioredis refuses commands. Its own `close` comes later.
  redis.on("connect", () => void redis.stream.once("end", lose));
  redis.on("close", () => {
    lose();
    // An attempt that fails without a connection is a loss of its own.
    isReported = false;
  });
  redis.on("ready", () => void becomeUsable());
  return redis;
}

/** Whether the server is a replica. Where `ROLE` is refused, the first write will show it. */
async function isReplica(redis: Redis): Promise<boolean> {
  try {
    return (await redis.role())[0] === "slave";
  } catch (error) {
    if (error instanceof ReplyError) return false;
    throw error;
  }
}
