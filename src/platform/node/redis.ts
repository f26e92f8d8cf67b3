/** Owns the connection to Redis on Node: one client, shared, that fails fast and heals itself. */
import { ReplyError } from "ioredis";

import type { RedisConnection } from "../../admission/redis-state.ts";
import { redisScripts } from "../../admission/scripts.ts";
import type { RedisAddress } from "../../config/redis-url.ts";
import type { Logger } from "../../logger.ts";
import { systemClock } from "../clock.ts";
import { readErrorCode } from "../redis-error-code.ts";
import { createReachability } from "./reachability.ts";
import { createRedisClient } from "./redis-client.ts";

export interface NodeRedis extends RedisConnection {
  /** Resolves once it is connected; with a word for what failed when that takes longer. */
  readonly connected: (timeoutMs: number) => Promise<string | undefined>;
  readonly close: () => void;
}

/** How long no node of a Cluster must have failed before it counts as reachable again. */
const CLUSTER_QUIET_MS = 1_000;

/** @param timeoutMs longest wait for an answer, in milliseconds */
export function createNodeRedis(address: RedisAddress, timeoutMs: number, log: Logger): NodeRedis {
  const isCluster = address.kind === "cluster";
  const reachability = createReachability(systemClock, log, isCluster ? CLUSTER_QUIET_MS : 0);
  const listeners = new Set<() => void>();
  const tellReady = () => {
    for (const listener of listeners) listener();
  };

  let usable = false;
  let closing = false;
  /** What was last heard of a connection; explains the failures that follow. */
  let hint: string | undefined;
  const failed = (reason: string) => {
    // Our own goodbye is no outage.
    if (!closing) reachability.failed(reason);
  };
  const client = createRedisClient(address, timeoutMs, {
    up: () => {
      usable = true;
      tellReady();
    },
    down: (reason) => {
      usable = false;
      failed(hint ?? reason);
    },
    hint: (reason) => {
      hint = reason;
    },
    failed: (reason) => failed(isCluster ? (hint ?? reason) : reason),
  });
  for (const { name, lua } of redisScripts) client.defineCommand(name, { lua });

  const run: RedisConnection["run"] = async (script, keys, args) => {
    const command: unknown = Reflect.get(client, script.name);
    if (typeof command !== "function") throw new Error("script is not defined");
    if (!usable) throw new Error("there is no connection");
    try {
      // What a defined command returns is unknown to its types; `redis-state.ts` checks it.
      const reply: unknown = await Reflect.apply(command, client, [keys.length, ...keys, ...args]);
      // A Cluster stays connected while one of its nodes fails and comes back.
      if (reachability.succeeded() && isCluster) tellReady();
      hint = undefined;
      return reply;
    } catch (error) {
      // Without a connection the reason was said when it broke; a Cluster's is one of several.
      if (error instanceof ReplyError) failed(readErrorCode(error));
      else if (isCluster) failed(hint ?? "closed");
      throw error;
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
    close: () => {
      closing = true;
      client.disconnect();
    },
  };
}
