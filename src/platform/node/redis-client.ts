/**
 * Owns the client of each shape of Redis and its options, all under one rule: a command that may
 * have run is never run again, and one that cannot be sent at once is refused at once.
 */
import { Cluster, Redis, ReplyError, type RedisOptions } from "ioredis";

import type { RedisAddress, RedisNode } from "../../config/redis-url.ts";
import { systemClock } from "../clock.ts";
import { readErrorCode, UNREACHABLE } from "../redis-error-code.ts";
import { RedisConnector } from "./redis-connector.ts";
import { backOff, createReconnects, type RedisEvents, watchRedis } from "./watch-redis.ts";

export type RedisClient = Redis | Cluster;

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
  | "protocol"
  | "enableReadyCheck"
  | "disableClientInfo"
>;

/** How often a Cluster is asked which node serves what; a redirection asks at once. */
const TOPOLOGY_MS = 10_000;
/** Pause before a command that a slot on the move refused is sent again, in milliseconds. */
const TRY_AGAIN_MS = 50;

/**
 * @param timeoutMs longest wait for an answer; a connection silent for four times as long is given up
 */
export function createRedisClient(
  address: RedisAddress,
  timeoutMs: number,
  { up, ...others }: RedisEvents,
): RedisClient {
  const reconnects = createReconnects(systemClock);
  const events: RedisEvents = {
    ...others,
    up: () => {
      reconnects.usable();
      up();
    },
  };
  const connection: ConnectionOptions = {
    ...address.credentials,
    ...(address.tls && { tls: {} }),
    // A command whose connection broke may have run: it must not run again by itself.
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    connectTimeout: atLeastOneSecond(timeoutMs),
    // A Redis that hangs is hung up on, so that what waits for it does not pile up here.
    socketTimeout: timeoutMs * 4,
    // Without these three ioredis sends HELLO, INFO and CLIENT SETINFO: commands that a user with few
    // rights may not run and proxies do not know. `watchRedis` asks in another way.
    protocol: 2,
    enableReadyCheck: false,
    disableClientInfo: true,
  };
  const retryStrategy = () => reconnects.next();
  if (address.kind === "cluster") {
    return createCluster(address.nodes, connection, retryStrategy, events);
  }

  const primary = {
    ...connection,
    db: address.database,
    // While there is no connection every request must know at once, not wait in a queue.
    enableOfflineQueue: false,
    retryStrategy,
    // Commands of one turn of the event loop share a write.
    enableAutoPipelining: true,
  } satisfies RedisOptions;
  if (address.kind === "single") {
    const options = {
      ...primary,
      ...address.node,
      Connector: RedisConnector,
      // After a fail-over the old primary is read-only: the connection is made anew.
      reconnectOnError: (error: Error) => readErrorCode(error) === "READONLY",
    };
    const watched = { database: address.database, mayBeReplica: false };
    return watchRedis(new Redis(options), watched, events);
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
  const watched = { database: address.database, mayBeReplica: true };
  return watchRedis(new Redis(options), watched, events);
}

function atLeastOneSecond(ms: number): number {
  return Math.max(ms, 1_000);
}

function createCluster(
  nodes: readonly RedisNode[],
  redisOptions: ConnectionOptions,
  retryStrategy: () => number,
  events: RedisEvents,
): Cluster {
  const cluster = new Cluster([...nodes], {
    redisOptions: { ...redisOptions, Connector: RedisConnector },
    // Below, so that a user who may not run CLUSTER INFO is served.
    enableReadyCheck: false,
    enableOfflineQueue: false,
    clusterRetryStrategy: retryStrategy,
    // Zero is "never", not "at once". A broken connection's commands may have run; and while the
    // Cluster is down, whoever waits would only wait longer.
    retryDelayOnFailover: 0,
    retryDelayOnClusterDown: 0,
    // MOVED, ASK and TRYAGAIN say that the command has not run: those alone are sent again.
    retryDelayOnTryAgain: TRY_AGAIN_MS,
    slotsRefreshInterval: TOPOLOGY_MS,
    slotsRefreshTimeout: redisOptions.connectTimeout ?? 1_000,
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
  const isReady = () => cluster.status === "ready";
  const becomeUsable = async () => {
    const state = await askState(cluster);
    if (!isReady()) return;
    if (state === "down") events.hint("CLUSTERDOWN");
    if (state !== "up") {
      cluster.disconnect(true);
      return;
    }
    await connectPrimaries();
    if (isReady()) events.up();
  };
  cluster.on("ready", () => void becomeUsable());
  cluster.on("refresh", () => {
    if (isReady()) void connectPrimaries();
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

/** What a node says of the Cluster; where it refuses to say, commands will show. */
async function askState(cluster: Cluster): Promise<"up" | "down" | "lost"> {
  try {
    const info = await cluster.cluster("INFO");
    return info.includes("cluster_state:fail") ? "down" : "up";
  } catch (error) {
    return error instanceof ReplyError ? "up" : "lost";
  }
}
