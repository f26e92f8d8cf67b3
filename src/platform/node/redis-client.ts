/**
 * Creates ioredis clients for a single server, for Sentinels and for a Cluster. All follow two
 * rules: a command that may have run is never run again, and a command that cannot be sent at once
 * fails at once.
 */
import { Cluster, Redis, ReplyError, type RedisOptions } from "ioredis";

import type { RedisAddress, RedisNode } from "../../config/redis-url.ts";
import { systemClock } from "../system.ts";
import { readErrorCode, UNREACHABLE } from "../redis-error-code.ts";
import { RedisConnector } from "./redis-connector.ts";
import { backOff, createReconnects, type RedisEvents, watchRedis } from "./watch-redis.ts";

export type RedisClient = Redis | Cluster;

/**
 * Options of every connection: to a single server, a primary behind Sentinels or a Cluster's node.
 */
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

/**
 * Interval for reading the slot table of a Cluster, in milliseconds. A redirection reads it at
 * once.
 */
const TOPOLOGY_MS = 10_000;
/**
 * Pause before a command is sent again after TRYAGAIN (its slot is being moved), in milliseconds.
 */
const TRY_AGAIN_MS = 50;

/**
 * Creates the client of an address and starts to connect.
 *
 * @param timeoutMs longest wait for an answer, in milliseconds; a connection that is silent for
 *   four times as long is closed
 * @param events called for each change of the connection
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
    // A command whose connection broke may have run, so the client must not send it again.
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    connectTimeout: atLeastOneSecond(timeoutMs),
    // Closes the connection to a Redis that hangs, so that waiting commands do not pile up.
    socketTimeout: timeoutMs * 4,
    // Without these three ioredis sends HELLO, INFO and CLIENT SETINFO. A user with few rights may
    // not run them, and proxies do not know them. `watchRedis` checks the server in another way.
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
    // Without a connection a request must fail at once, not wait in a queue.
    enableOfflineQueue: false,
    retryStrategy,
    // `gatherWrites` instead: auto-pipelining sends a batch only when the one before is answered.
    enableAutoPipelining: false,
  } satisfies RedisOptions;
  if (address.kind === "single") {
    const options = {
      ...primary,
      ...address.node,
      Connector: RedisConnector,
      // After a fail-over the old primary is read-only: the client must connect again.
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
    // When a Sentinel hangs, the next one is asked.
    sentinelCommandTimeout: atLeastOneSecond(timeoutMs),
    // `failoverDetector` stays off: a notice that arrives while the Sentinels are being asked ends
    // the client of ioredis 6.0.0 for good. It is not needed: the connection breaks when a primary
    // dies, hangs or is demoted, and a primary without its replicas answers NOREPLICAS.
    reconnectOnError: (error) => /^(?:READONLY|NOREPLICAS)$/.test(readErrorCode(error)),
  } satisfies RedisOptions;
  const watched = { database: address.database, mayBeReplica: true };
  return watchRedis(new Redis(options), watched, events);
}

/**
 * Returns a function to call before a command is sent. It holds back what is written until the other
 * events of this turn of the event loop are handled, so that the commands of one turn are one write.
 */
export function gatherWrites(client: RedisClient): () => void {
  let isHolding = false;
  return () => {
    if (isHolding) return;
    isHolding = true;
    const nodes = client instanceof Cluster ? client.nodes("master") : [client];
    // A node that is not connected has no stream.
    const streams = nodes.map((node): Redis["stream"] | undefined => node.stream);
    for (const stream of streams) stream?.cork();
    setImmediate(() => {
      isHolding = false;
      for (const stream of streams) stream?.uncork();
    });
  };
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
    // `askState` does this check and accepts a user who may not run CLUSTER INFO.
    enableReadyCheck: false,
    enableOfflineQueue: false,
    clusterRetryStrategy: retryStrategy,
    // Zero means "never". Commands of a broken connection may have run, and while the Cluster is
    // down a retry only lengthens the wait of the request.
    retryDelayOnFailover: 0,
    retryDelayOnClusterDown: 0,
    // Commands are sent again only after MOVED, ASK and TRYAGAIN, which say that they have not run.
    retryDelayOnTryAgain: TRY_AGAIN_MS,
    slotsRefreshInterval: TOPOLOGY_MS,
    slotsRefreshTimeout: redisOptions.connectTimeout ?? 1_000,
    // Keeps the name: the TLS certificate is checked against it, not against an address.
    dnsLookup: (name, done) => done(null, name),
    // Auto-pipelining stays off. A pipeline holds commands for the slots of several workspaces, and
    // ioredis 6.0.0 follows a redirection only where all of them are redirected alike. It hangs
    // where a part of the pipeline could not be sent.
  });
  cluster.on("+node", (node: Redis) => {
    // On ASK ioredis 6.0.0 sends ASKING and ignores the promise: when that node dies, the unhandled
    // rejection would end the process. The command that follows fails by itself and is handled.
    const asking = node.asking.bind(node);
    node.asking = async () => asking().catch(() => "OK" as const);
  });
  // Otherwise a node connects with its first command, and further commands fail until it is
  // connected.
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
  // All nodes have failed. The hints of the single nodes say more than this error.
  cluster.on("error", () => events.failed(UNREACHABLE));
  cluster.on("close", () => events.down("closed"));
  return cluster;
}

/** Asks a node for the state of the Cluster. Where the node refuses to answer, it counts as up. */
async function askState(cluster: Cluster): Promise<"up" | "down" | "lost"> {
  try {
    const info = await cluster.cluster("INFO");
    return info.includes("cluster_state:fail") ? "down" : "up";
  } catch (error) {
    return error instanceof ReplyError ? "up" : "lost";
  }
}
