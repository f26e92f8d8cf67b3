/**
 * Connections to Redis on Workers: one per request, because on Workers only the request that opened
 * a socket may use it. The first command opens it, and it is closed when the request's work is
 * done.
 */
import { createHash } from "node:crypto";

import { Redis, ReplyError } from "ioredis";

import type { RedisConnection } from "../../admission/redis-state.ts";
import type { RedisScript } from "../../admission/lua/script.ts";
import type { RedisAddress } from "../../config/redis-url.ts";
import type { Logger } from "../../logger.ts";
import { systemClock } from "../system.ts";
import { createReachability, type Reachability } from "../reachability.ts";
import { readErrorCode } from "../redis-error-code.ts";
import { currentScope } from "./request-scope.ts";

/**
 * The only kind of address that is served: with a Cluster or Sentinels each request would have to
 * ask for the nodes first.
 */
export type SingleRedisAddress = RedisAddress & { readonly kind: "single" };

/**
 * Creates the connection of an isolate, which opens one socket per request. Outages are logged.
 *
 * @param timeoutMs longest wait for an answer, in milliseconds; a connection that is silent for
 *   four times as long is closed
 */
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
    // EVALSHA requires SHA-1. It is not used for security.
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
      // The commands that wait for the connection fail with this error.
      () => undefined,
    );
    return connection;
  };

  /** Returns the connection of the request; a new one where Redis has closed the first. */
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
  /** Resolves when the connection is usable. */
  readonly opened: Promise<void>;
  run(
    digest: string,
    lua: string,
    keys: readonly string[],
    args: readonly (string | number)[],
  ): Promise<unknown>;
  isEnded(): boolean;
  /** Closes the connection when no command waits for an answer. */
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
    // One attempt to connect: the next request opens its own connection.
    retryStrategy: () => null,
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    connectTimeout: timeoutMs,
    socketTimeout: timeoutMs * 4,
    // Each of these would add a round trip before the first command.
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
      // `socketTimeout` ends commands that Redis never answers.
      while (pending.size > 0) await Promise.allSettled(pending);
      redis.disconnect();
    },
  };
}

/**
 * Connects and selects the database. ioredis itself would ignore a failed selection and use
 * another.
 */
async function openDatabase(redis: Redis): Promise<void> {
  await redis.connect();
  const { db } = redis.options;
  if (db !== undefined && db !== 0) await redis.select(db);
}
