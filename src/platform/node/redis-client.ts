/**
 * Owns the client of each shape of Redis and its options, all under one rule: a command that may
 * have run is never run again, and one that cannot be sent at once is refused at once.
 */
import { Cluster, Redis, type RedisOptions } from "ioredis";

import type { RedisAddress, RedisNode } from "../../config/redis-url.ts";
import { readErrorCode, UNREACHABLE } from "../redis-error-code.ts";

export type RedisClient = Redis | Cluster;

/** What a client tells of its connections. */
export interface RedisEvents {
  /** Commands may be sent from now on. */
  readonly up: () => void;
  /** None may be sent until `up`. */
  readonly down: (reason: string) => void;
  /** Something that may explain a failure, or be one of many nodes' own trouble. */
  readonly hint: (reason: string) => void;
  /** Commands cannot be answered, whether or not there is a connection. */
  readonly failed: (reason: string) => void;
}

/** What the connections to single servers, primaries and nodes have in common. */
type ConnectionOptions = Pick<
  RedisOptions,
  | "username"
  | "password"
  | "tls"
  | "autoResendUnfulfilledCommands"
  | "maxRetriesPerRequest"
  | "connectTimeout"
  | "socketTimeout"
>;

/** Longest pause between two attempts to reconnect, in milliseconds. */
const RECONNECT_MS_MAX = 1_000;
/** How often a Cluster is asked which node serves what; a redirection asks at once. */
const TOPOLOGY_MS = 10_000;
/** Pause before a command that a slot on the move refused is sent again, in milliseconds. */
const TRY_AGAIN_MS = 50;

const backOff = (times: number) => Math.min(50 * 2 ** Math.min(times, 5), RECONNECT_MS_MAX);

/**
 * @param timeoutMs longest wait for an answer; a connection silent for four times as long is given up
 */
export function createRedisClient(
  address: RedisAddress,
  timeoutMs: number,
  events: RedisEvents,
): RedisClient {
  const connection: ConnectionOptions = {
    ...address.credentials,
    ...(address.tls && { tls: {} }),
    // A command whose connection broke may have run: it must not run again by itself.
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    connectTimeout: atLeastOneSecond(timeoutMs),
    // A Redis that hangs is hung up on, so that what waits for it does not pile up here.
    socketTimeout: timeoutMs * 4,
  };
  if (address.kind === "cluster") return createCluster(address.nodes, connection, events);

  const primary = {
    ...connection,
    db: address.database,
    // While there is no connection every request must know at once, not wait in a queue.
    enableOfflineQueue: false,
    retryStrategy: backOff,
    // Commands of one turn of the event loop share a write.
    enableAutoPipelining: true,
  } satisfies RedisOptions;
  if (address.kind === "single") {
    const options = {
      ...primary,
      ...address.node,
      // After a fail-over the old primary is read-only: the connection is made anew.
      reconnectOnError: (error: Error) => readErrorCode(error) === "READONLY",
    };
    return watchRedis(new Redis(options), address.database, events);
  }
  const { username: sentinelUsername, password: sentinelPassword } = address.sentinelCredentials;
  const options = {
    ...primary,
    sentinels: [...address.sentinels],
    name: address.primaryName,
    ...(sentinelUsername !== undefined && { sentinelUsername }),
    ...(sentinelPassword !== undefined && { sentinelPassword }),
    ...(address.tls && { sentinelTLS: {}, enableTLSForSentinelMode: true }),
    sentinelRetryStrategy: backOff,
    // A Sentinel that hangs must not keep us from asking the next one.
    sentinelCommandTimeout: atLeastOneSecond(timeoutMs),
    // `failoverDetector` stays off: a notice that comes while the Sentinels are being asked ends
    // ioredis 6.0.0's client for good. A primary that died, hangs or was demoted breaks the
    // connection anyway, and one that is cut off from its replicas says NOREPLICAS.
    reconnectOnError: (error) => /^(?:READONLY|NOREPLICAS)$/.test(readErrorCode(error)),
  } satisfies RedisOptions;
  return watchRedis(new Redis(options), address.database, events);
}

function atLeastOneSecond(ms: number): number {
  return Math.max(ms, 1_000);
}

function watchRedis(redis: Redis, database: number, events: RedisEvents): Redis {
  redis.on("error", (error: Error) => {
    events.hint(readErrorCode(error));
    events.failed(readErrorCode(error));
  });
  redis.on("close", () => events.down("closed"));
  redis.on("ready", () => {
    // The client goes on in database 0 where the one that was meant cannot be had; we do not.
    redis.select(database).then(events.up, (error: unknown) => {
      events.failed(readErrorCode(error));
    });
  });
  return redis;
}

function createCluster(
  nodes: readonly RedisNode[],
  redisOptions: ConnectionOptions,
  events: RedisEvents,
): Cluster {
  const cluster = new Cluster([...nodes], {
    redisOptions,
    enableOfflineQueue: false,
    clusterRetryStrategy: backOff,
    // Zero is "never", not "at once". A broken connection's commands may have run; and while the
    // Cluster is down, whoever waits would only wait longer.
    retryDelayOnFailover: 0,
    retryDelayOnClusterDown: 0,
    // MOVED, ASK and TRYAGAIN say that the command has not run: those alone are sent again.
    retryDelayOnTryAgain: TRY_AGAIN_MS,
    slotsRefreshInterval: TOPOLOGY_MS,
    slotsRefreshTimeout: redisOptions.connectTimeout ?? RECONNECT_MS_MAX,
    // A certificate is checked against the name, which must not be swapped for an address here.
    dnsLookup: (name, done) => done(null, name),
    // Auto-pipelining stays off: ioredis 6.0.0 follows a redirection only where a whole pipeline,
    // with the slots of other workspaces in it, was redirected alike, and hangs where a part of it
    // could not be sent.
  });
  cluster.on("+node", (node: Redis) => {
    // On ASK ioredis 6.0.0 sends this without looking at the outcome; unhandled, it would end the
    // process when that node dies. The command behind it fails, and is handled, by itself.
    const asking = node.asking.bind(node);
    node.asking = async () => asking().catch(() => "OK" as const);
  });
  // A node's first command would otherwise wait for its connection, and the next ones be refused.
  const connectPrimaries = () =>
    Promise.allSettled(
      cluster.nodes("master").map(async (node) => {
        if (node.status === "wait") await node.connect();
      }),
    );
  cluster.on("ready", () => {
    void connectPrimaries().then(() => {
      if (cluster.status === "ready") events.up();
    });
  });
  cluster.on("refresh", () => {
    if (cluster.status === "ready") void connectPrimaries();
  });
  cluster.on("node error", (error: Error) => {
    const code = readErrorCode(error);
    if (code !== UNREACHABLE) events.hint(code);
  });
  // All nodes have failed; each one's own failure may have said more than this error.
  cluster.on("error", () => events.failed(UNREACHABLE));
  cluster.on("close", () => events.down("closed"));
  return cluster;
}
