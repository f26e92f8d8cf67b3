/**
 * Owns the connections to Redis on Workers: one per request, since a socket belongs to the request
 * that opened it. Opened by the first command, closed once the request's work is done.
 */
import { createHash } from "node:crypto";

import { Redis, ReplyError } from "ioredis";

import type { RedisConnection } from "../../admission/redis-state.ts";
import type { RedisScript } from "../../admission/lua/script.ts";
import type { RedisAddress } from "../../config/redis-url.ts";
import type { Logger } from "../../logger.ts";
import { systemClock } from "../clock.ts";
import { createReachability, type Reachability } from "../reachability.ts";
import { readErrorCode } from "../redis-error-code.ts";
import { currentScope } from "./request-scope.ts";

/** Clusters and Sentinels have to be asked for their nodes first, by each request anew. */
export type SingleRedisAddress = RedisAddress & { readonly kind: "single" };

/** @param timeoutMs longest wait for an answer; a connection silent for four times as long is given up */
export function createWorkerRedis(
  address: SingleRedisAddress,
  timeoutMs: number,
  log: Logger,
): RedisConnection {
  const owner = {};
  const reachability = createReachability(systemClock, log, 0);
  const listeners = new Set<() => void>();
  const digests = new Map<RedisScript, string>();

  const digestOf = (script: RedisScript): string => {
    const known = digests.get(script);
    if (known !== undefined) return known;
    // What EVALSHA wants; nothing is kept secret by it.
    const digest = createHash("sha1").update(script.lua).digest("hex");
    digests.set(script, digest);
    return digest;
  };

  const open = (): RequestRedis => {
    const connection = connect(address, timeoutMs, reachability);
    currentScope().onEnd(() => connection.close());
    connection.opened.then(
      () => {
        for (const listener of listeners) listener();
      },
      // Whoever waits for it is told.
      () => undefined,
    );
    return connection;
  };

  /** The request's connection; another one where Redis has ended the first. */
  const take = (): RequestRedis => {
    const slot = currentScope().keep<{ held?: RequestRedis }>(owner, () => ({}));
    if (slot.held === undefined || slot.held.isEnded()) slot.held = open();
    return slot.held;
  };

  return {
    run: (script, keys, args) => take().run(digestOf(script), script.lua, keys, args),
    onReady: (listener) => void listeners.add(listener),
  };
}

interface RequestRedis {
  /** Resolves once it can be used. */
  readonly opened: Promise<void>;
  run(
    digest: string,
    lua: string,
    keys: readonly string[],
    args: readonly (string | number)[],
  ): Promise<unknown>;
  isEnded(): boolean;
  /** Ends it once nothing is waited for, or waited for in vain. */
  close(): Promise<void>;
}

function connect(
  { node, database, credentials, tls }: SingleRedisAddress,
  timeoutMs: number,
  reachability: Reachability,
): RequestRedis {
  const redis = new Redis({
    ...node,
    ...credentials,
    ...(tls && { tls: {} }),
    db: database,
    lazyConnect: true,
    // One request, one connection, one try: the next request makes its own.
    retryStrategy: () => null,
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    connectTimeout: timeoutMs,
    socketTimeout: timeoutMs * 4,
    // Each would be one more round trip before the first command.
    protocol: 2,
    enableReadyCheck: false,
    disableClientInfo: true,
  });
  let reason = "closed";
  redis.on("error", (error: Error) => {
    reason = readErrorCode(error);
  });
  const fail = (error: unknown) => {
    // An error of the client says only that the connection ended; `reason` says what ended it.
    reachability.failed({ reason: error instanceof ReplyError ? readErrorCode(error) : reason });
  };
  const opened = openDatabase(redis);
  opened.catch(fail);

  const pending = new Set<Promise<unknown>>();
  const evaluate = async (
    digest: string,
    lua: string,
    rest: readonly (string | number)[],
  ): Promise<unknown> => {
    await opened;
    try {
      const reply = await redis.call("EVALSHA", digest, ...rest).catch((error: unknown) => {
        if (!(error instanceof ReplyError && readErrorCode(error) === "NOSCRIPT")) throw error;
        return redis.call("EVAL", lua, ...rest);
      });
      reachability.succeeded();
      return reply;
    } catch (error) {
      fail(error);
      throw error;
    }
  };

  return {
    opened,
    run: (digest, lua, keys, args) => {
      const running = evaluate(digest, lua, [keys.length, ...keys, ...args]);
      pending.add(running);
      const forget = () => void pending.delete(running);
      running.then(forget, forget);
      return running;
    },
    isEnded: () => redis.status === "end",
    async close() {
      // The socket's own time limit ends what Redis never answers.
      while (pending.size > 0) await Promise.allSettled(pending);
      redis.disconnect();
    },
  };
}

/** Connects; fails where the database that was meant cannot be had, which the client would ignore. */
async function openDatabase(redis: Redis): Promise<void> {
  await redis.connect();
  const { db } = redis.options;
  if (db !== undefined && db !== 0) await redis.select(db);
}
