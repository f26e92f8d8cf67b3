/**
 * Connection to Redis on Node: one client for all requests. Without a connection a command fails at
 * once, and the client reconnects by itself.
 */
import { ReplyError } from "ioredis";

import type { RedisConnection } from "../../admission/redis-state.ts";
import { redisScripts } from "../../admission/lua/scripts.ts";
import type { RedisAddress } from "../../config/redis-url.ts";
import type { Clock } from "../../clock.ts";
import type { Logger } from "../../logger.ts";
import type { Metrics } from "../../metrics.ts";
import { systemClock } from "../system.ts";
import { readErrorCode } from "../redis-error-code.ts";
import { createReachability } from "../reachability.ts";
import { createRedisClient, gatherWrites } from "./redis-client.ts";

export interface NodeRedis extends RedisConnection {
  /** Waits until it is connected; resolves with an error code when that takes longer. */
  readonly connected: (timeoutMs: number) => Promise<string | undefined>;
  /** Error code of the last failure; undefined when a command has succeeded since. */
  readonly lastFailure: () => string | undefined;
  readonly close: () => void;
}

/** Time without a failure before a Cluster counts as reachable again, in milliseconds. */
const CLUSTER_QUIET_MS = 1_000;

/**
 * Creates the client and starts to connect. Outages are logged.
 *
 * @param timeoutMs longest wait for an answer, in milliseconds
 */
export function createNodeRedis(address: RedisAddress, timeoutMs: number, log: Logger): NodeRedis {
  const isCluster = address.kind === "cluster";
  const reachability = createReachability(systemClock, log, isCluster ? CLUSTER_QUIET_MS : 0);
  const listeners = new Set<() => void>();
  const tellReady = () => {
    for (const listener of listeners) listener();
  };

  let usable = false;
  let closing = false;
  /** Error code of the last event of a connection. It explains the failures that follow. */
  let hint: string | undefined;
  let lastFailure: string | undefined;
  let inFlight = 0;
  /** Set while the client reconnects after an idle connection was closed. */
  let gap: { readonly over: Promise<void>; readonly end: () => void } | undefined;
  const failed = (reason: string, refused = false) => {
    gap?.end();
    // The end of a connection that we close is not an outage.
    if (closing) return;
    lastFailure = reason;
    reachability.failed({ reason }, refused);
  };
  /**
   * Redis and proxies close connections that are idle for long. No command is lost by that, so it
   * is not an outage: commands wait for the new connection. Without one after `timeoutMs` it is.
   */
  const openGap = (reason: string) => {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(() => failed(hint ?? reason), timeoutMs);
    gap = {
      over: promise,
      end: () => {
        clearTimeout(timer);
        gap = undefined;
        resolve();
      },
    };
  };
  const client = createRedisClient(address, timeoutMs, {
    up: () => {
      usable = true;
      gap?.end();
      tellReady();
    },
    down: (reason) => {
      const wasIdle = usable && inFlight === 0 && lastFailure === undefined && !closing;
      usable = false;
      if (wasIdle) openGap(reason);
      else failed(hint ?? reason);
    },
    hint: (reason) => {
      hint = reason;
    },
    failed: (reason, refused) => {
      if (isCluster) failed(hint ?? reason);
      // The error of a usable connection is followed by `down`, which reports it.
      else if (!usable) failed(reason, refused);
    },
  });
  const gather = gatherWrites(client);
  for (const { name, lua } of redisScripts) client.defineCommand(name, { lua });

  const run: RedisConnection["run"] = async (script, keys, args) => {
    const command: unknown = Reflect.get(client, script.name);
    if (typeof command !== "function") throw new Error("script is not defined");
    if (gap !== undefined) await gap.over;
    if (!usable) throw new Error("there is no connection");
    inFlight += 1;
    gather();
    try {
      // The types of ioredis do not know the reply of a defined command; `redis-state.ts` checks
      // it.
      const reply: unknown = await Reflect.apply(command, client, [keys.length, ...keys, ...args]);
      // A Cluster stays connected while a node fails and returns, so no `up` event tells listeners.
      if (reachability.succeeded() && isCluster) tellReady();
      hint = undefined;
      lastFailure = undefined;
      return reply;
    } catch (error) {
      // The loss of a single connection was reported by `down`. A Cluster has several connections
      // and reports no `down` for one of them.
      if (error instanceof ReplyError) failed(readErrorCode(error), !isCluster);
      else if (isCluster) failed(hint ?? "closed");
      throw error;
    } finally {
      inFlight -= 1;
    }
  };

  return {
    run,
    onReady: (listener) => void listeners.add(listener),
    connected: (waitMs) =>
      new Promise((resolve) => {
        const timer = setTimeout(() => resolve(hint ?? "timeout"), waitMs);
        const done = () => {
          clearTimeout(timer);
          resolve(undefined);
        };
        if (usable) done();
        listeners.add(done);
      }),
    lastFailure: () => lastFailure,
    close: () => {
      closing = true;
      gap?.end();
      client.disconnect();
    },
  };
}

/** Wraps a connection so that the time of every command is counted, of failed ones too. */
export function timeRedis(
  connection: RedisConnection,
  clock: Clock,
  metrics: Metrics,
): RedisConnection {
  return {
    onReady: (listener) => connection.onReady(listener),
    async run(script, keys, args) {
      const startedMs = clock.monotonicMs();
      try {
        return await connection.run(script, keys, args);
      } finally {
        // In an outage the time until a command failed is the first number to look at.
        metrics.countStateTrip(script.name, clock.monotonicMs() - startedMs);
      }
    },
  };
}
