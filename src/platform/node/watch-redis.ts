/**
 * Decides when the connection to one Redis server may be used, and how soon a lost one is made anew.
 *
 * ioredis asks `INFO` for the first. Many users may not run it and many proxies do not know it, so
 * the server is asked instead for what the service needs anyway: to run a script.
 */
import { setTimeout } from "node:timers/promises";

import { type Redis, ReplyError } from "ioredis";

import type { Clock } from "../../clock.ts";
import { readErrorCode } from "../redis-error-code.ts";

/** What a client tells of its connections. */
export interface RedisEvents {
  /** Commands may be sent from now on. */
  readonly up: () => void;
  /** None may be sent until `up`. */
  readonly down: (reason: string) => void;
  /** Something that may explain a failure, or be one of many nodes' own trouble. */
  readonly hint: (reason: string) => void;
  /** Commands cannot be answered; `refused` where Redis itself said so. */
  readonly failed: (reason: string, refused?: boolean) => void;
}

/** Longest pause between two attempts, in milliseconds. */
const PAUSE_MS_MAX = 1_000;
/** A connection that was usable for this long is made anew without a pause, in milliseconds. */
const LASTED_MS = 500;

/** @param attempt counted from 1; returns a pause in milliseconds */
export function backOff(attempt: number): number {
  return Math.min(50 * 2 ** Math.min(attempt, 5), PAUSE_MS_MAX);
}

export interface Reconnects {
  /** The pause before the next attempt to connect, in milliseconds. */
  next(): number;
  /** Told when a connection has become usable. */
  usable(): void;
}

/**
 * A connection that lasted is made anew at once: Redis or a proxy closes idle ones, and a request may
 * come at any moment. One that did not, although it could be used, must not be tried in a tight loop.
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
  /** The one that was asked for. 0 needs no `SELECT`, which some proxies refuse. */
  readonly database: number;
  /** Whether a replica may be at the other end, as after a fail-over that a Sentinel has not seen. */
  readonly mayBeReplica: boolean;
}

/** Tells the events of a client of one server; `up` only once the server runs scripts. */
export function watchRedis(
  redis: Redis,
  { database, mayBeReplica }: WatchOptions,
  events: RedisEvents,
): Redis {
  /** Counts connections, so that what is learnt of one is not taken for the next. */
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
        // ioredis goes on in database 0 where the one that was meant cannot be had; we do not.
        if (database !== 0) await redis.select(database);
        await redis.eval("return 1", 0);
        if (!mayBeReplica || !(await isReplica(redis))) {
          if (isCurrent()) events.up();
          return;
        }
        events.hint("READONLY");
        events.failed("READONLY", true);
      } catch (error) {
        // The end of the connection is told by its own event.
        if (!isCurrent() || !(error instanceof ReplyError)) return;
        fail(error);
      }
      // The operator may grant a command at any time, and a Redis that loads its data will be done.
      await setTimeout(backOff(attempt), undefined, { ref: false });
      if (mayBeReplica && isCurrent()) {
        // Behind Sentinels another server may be the right one by now.
        redis.disconnect(true);
        return;
      }
    }
  };

  redis.on("error", fail);
  redis.on("close", () => {
    connection += 1;
    events.down("closed");
  });
  redis.on("ready", () => void becomeUsable());
  return redis;
}

/** Where `ROLE` is refused, the first write shows it. */
async function isReplica(redis: Redis): Promise<boolean> {
  try {
    return (await redis.role())[0] === "slave";
  } catch (error) {
    if (error instanceof ReplyError) return false;
    throw error;
  }
}
