/** Starts a real Redis Cluster: three primaries, and replicas of the first. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { Redis } from "ioredis";

import { findFreePort } from "./ports.ts";
import { type RedisServer, startRedis, toArguments } from "./redis-server.ts";

export interface ClusterNode extends RedisServer {
  readonly id: string;
  /** For the test's own commands. */
  readonly admin: Redis;
}

export interface RedisCluster {
  /** `REDIS_URL` with all primaries. */
  readonly url: string;
  readonly primaries: readonly ClusterNode[];
  readonly replicas: readonly ClusterNode[];
  /**
   * Returns the primary that serves a key now. All living nodes are asked, so none may be paused.
   */
  ownerOf(key: string): Promise<ClusterNode>;
  stop(): Promise<void>;
}

/** Time after which a node counts as dead and its replica takes over, in milliseconds. */
const NODE_TIMEOUT_MS = 1_000;
const PRIMARIES = 3;
const SLOTS = 16_384;

/**
 * @param replicas number of replicas of the first primary, which serves the keys of workspace 42
 * @param args further options of all nodes
 */
export async function startCluster(
  replicas = 1,
  args: readonly string[] = [],
): Promise<RedisCluster> {
  const folder = mkdtempSync(join(tmpdir(), "bff-cluster-"));
  const nodes: ClusterNode[] = [];
  for (let index = 0; index < PRIMARIES + replicas; index += 1) {
    // The folder of a node holds its view of the Cluster and the files of a synchronisation.
    const files = toArguments({ dir: folder, "cluster-config-file": `${index}.conf` });
    nodes.push(await startNode([...files, ...args]));
  }
  const primaries = nodes.slice(0, PRIMARIES);
  const [first] = primaries;
  if (first === undefined) throw new Error("no primary");
  for (const { port, busPort } of nodes as StartedNode[]) {
    await first.admin.cluster("MEET", "127.0.0.1", port, busPort);
  }
  const share = Math.ceil(SLOTS / PRIMARIES);
  // The first node gets the range with the slot of workspace 42.
  const home = Math.floor((await first.admin.cluster("KEYSLOT", "{ws:42}")) / share);
  for (const [index, { admin }] of primaries.entries()) {
    const from = ((home + index) % PRIMARIES) * share;
    await admin.call("CLUSTER", "ADDSLOTSRANGE", from, Math.min(from + share, SLOTS) - 1);
  }
  const followers = nodes.slice(PRIMARIES);
  for (const { admin } of followers) {
    await until(async () => String(await admin.cluster("NODES")).includes(first.id));
    await admin.cluster("REPLICATE", first.id);
  }
  for (const { admin } of nodes) {
    await until(async () => {
      const info = await admin.cluster("INFO");
      return (
        info.includes("cluster_state:ok") && info.includes(`cluster_known_nodes:${nodes.length}`)
      );
    });
  }
  for (const { admin } of followers) {
    await until(async () => (await admin.info("replication")).includes("master_link_status:up"));
  }
  return {
    url: primaries.map(({ url }) => url).join(),
    primaries,
    replicas: followers,
    ownerOf: async (key) => {
      for (const node of nodes.filter(({ admin }) => admin.status === "ready")) {
        const slot = await node.admin.cluster("KEYSLOT", key);
        if (ownsSlot(String(await node.admin.cluster("NODES")), slot)) return node;
      }
      throw new Error(`nobody serves ${key}`);
    },
    stop: async () => {
      for (const node of nodes) {
        node.admin.disconnect();
        node.resume();
        await node.kill();
      }
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

interface StartedNode extends ClusterNode {
  readonly busPort: number;
}

async function startNode(args: readonly string[]): Promise<StartedNode> {
  const busPort = await findFreePort();
  const server = await startRedis([
    ...toArguments({
      "cluster-enabled": "yes",
      "cluster-port": busPort,
      "cluster-node-timeout": NODE_TIMEOUT_MS,
      // A replica that has just been created may take over at once.
      "cluster-replica-validity-factor": 0,
      "repl-diskless-sync-delay": 0,
    }),
    ...args,
  ]);
  const password = args[args.indexOf("--requirepass") + 1];
  const admin = new Redis(server.port, {
    ...(args.includes("--requirepass") && password !== undefined && { password }),
  });
  admin.on("error", () => undefined);
  const id = await admin.cluster("MYID");
  return { ...server, busPort, admin, id };
}

/** Tells whether the node that returned this list serves the slot. */
function ownsSlot(nodes: string, slot: number): boolean {
  const own = nodes.split("\n").find((line) => line.includes("myself,master")) ?? "";
  return own
    .split(" ")
    .slice(8)
    .some((range) => {
      const [from, to] = range.split("-").map(Number);
      return from !== undefined && slot >= from && slot <= (to ?? from);
    });
}

/** Moves a slot with all its keys, as `redis-cli --cluster reshard` does. */
export async function moveSlot(
  cluster: RedisCluster,
  slot: number,
  from: ClusterNode,
  to: ClusterNode,
): Promise<void> {
  await to.admin.cluster("SETSLOT", slot, "IMPORTING", from.id);
  await from.admin.cluster("SETSLOT", slot, "MIGRATING", to.id);
  for (;;) {
    const keys = await from.admin.cluster("GETKEYSINSLOT", slot, 100);
    if (keys.length === 0) break;
    await from.admin.call("MIGRATE", "127.0.0.1", to.port, "", 0, 1_000, "KEYS", ...keys);
  }
  for (const { admin } of [to, ...cluster.primaries]) {
    await admin.cluster("SETSLOT", slot, "NODE", to.id);
  }
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  const giveUpAt = Date.now() + 20_000;
  while (!(await holds())) {
    if (Date.now() > giveUpAt) throw new Error("the Cluster did not come about");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
