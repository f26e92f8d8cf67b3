/**
 * Measures the product and comparable services on one machine in one run:
 *
 *   npm run bench -- [--quick] [--only=floor-auth,uponai-bff] [--against=<other build's node.js>]
 *
 * The target has a core to itself. A real Redis, a stand-in for UponAI that answers at once and the
 * load share another one. Short slots alternate over all targets (A B C A B C …), so that other work
 * of the machine affects all targets equally: the ratios are more reliable than the figures. Compare
 * processor time per request first; requests per second also depend on the speed of the load.
 *
 * All processes listen on loopback only, run for a limited time, and end with this one.
 */
import { type ChildProcess, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { cpus, loadavg, tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

import { Redis } from "ioredis";

import { checkTarget } from "./check.ts";
import {
  type Child,
  findFreePort,
  killChildren,
  pinned,
  startChild,
  stopChildren,
  waitForPort,
} from "./child.ts";
import type { Slot, SlotResult } from "./load.ts";
import { type Measurements, renderTable } from "./table.ts";
import {
  BASE,
  PRODUCT,
  type TargetDefinition,
  targetDefinitions,
  targetEnvironment,
} from "./targets.ts";

const here = fileURLToPath(new URL(".", import.meta.url));
const peersFolder = path.join(here, "peers");

/** Number and length of the slots of a run; times in milliseconds. */
interface Plan {
  readonly warmUpMs: number;
  readonly rounds: number;
  readonly rampMs: number;
  readonly slotMs: number;
  readonly latencyRounds: number;
  readonly latencySlotMs: number;
  /** The run is cancelled after this time. */
  readonly deadlineMs: number;
}

const FULL: Plan = {
  warmUpMs: 4_000,
  rounds: 16,
  rampMs: 250,
  slotMs: 1_500,
  latencyRounds: 5,
  latencySlotMs: 600,
  deadlineMs: 290_000,
};
const QUICK: Plan = {
  warmUpMs: 2_000,
  rounds: 7,
  rampMs: 200,
  slotMs: 1_000,
  latencyRounds: 3,
  latencySlotMs: 400,
  deadlineMs: 115_000,
};
const CONNECTIONS = 64;
const INSTALL_MS_MAX = 100_000;

interface Target {
  readonly definition: TargetDefinition;
  readonly child: Child;
  readonly port: number;
  readonly measured: Measurements;
}

interface Stage {
  readonly upstream: { readonly child: Child; readonly port: number };
  readonly redis: { readonly child: Child; readonly port: number };
  readonly load: Load;
}

/** The load generator. */
interface Load {
  readonly process: ChildProcess;
  /** Aborted when the process ends, after which no more messages come. */
  readonly ended: AbortSignal;
}

function readArguments(): { plan: Plan; definitions: readonly TargetDefinition[] } {
  const { values } = parseArgs({
    options: {
      quick: { type: "boolean", default: false },
      only: { type: "string" },
      against: { type: "string" },
    },
  });
  const names = values.only?.split(",");
  const known = new Set(targetDefinitions.map(({ name }) => name));
  const unknown = names?.find((name) => !known.has(name));
  if (unknown !== undefined) throw new Error(`--only: there is no target ${unknown}`);
  const definitions = targetDefinitions.filter(({ name }) => names?.includes(name) ?? true);
  if (values.against !== undefined) {
    const entry = path.resolve(values.against);
    definitions.push({ name: "other build", entry, guarded: true });
  }
  return { plan: values.quick ? QUICK : FULL, definitions };
}

/** Installs the peers once, in the versions of their lock file. */
function installPeers(): void {
  // npm writes this file last: without it the installation is incomplete.
  if (existsSync(path.join(peersFolder, "node_modules", ".package-lock.json"))) return;
  console.log("installing the peers");
  const { status } = spawnSync("npm", ["ci", "--ignore-scripts", "--no-audit", "--no-fund"], {
    cwd: peersFolder,
    stdio: "inherit",
    timeout: INSTALL_MS_MAX,
  });
  if (status !== 0) throw new Error("npm ci failed in bench/peers");
}

async function startStage(): Promise<Stage> {
  const redisPort = await findFreePort();
  const redis = startChild(
    "redis-server",
    "redis-server",
    // Redis stores nothing on disk.
    ["--port", String(redisPort), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"].concat(
      ["--dir", tmpdir()],
    ),
    { core: "other" },
  );
  await waitForPort(redis, redisPort);
  const upstreamPort = await findFreePort();
  const upstream = startScript("upstream", [path.join(here, "upstream.ts")], {
    PORT: String(upstreamPort),
  });
  await waitForPort(upstream, upstreamPort);
  return {
    redis: { child: redis, port: redisPort },
    upstream: { child: upstream, port: upstreamPort },
    load: startLoad(),
  };
}

function startLoad(): Load {
  const ended = new AbortController();
  const { process: child } = startScript("load", [path.join(here, "load.ts")]);
  child.once("exit", () => ended.abort(new Error("the load generator has ended")));
  return { process: child, ended: ended.signal };
}

function startScript(name: string, args: readonly string[], env?: Record<string, string>): Child {
  return startChild(name, process.execPath, args, { core: "other", ipc: true, env: env ?? {} });
}

async function startTarget(definition: TargetDefinition, stage: Stage): Promise<Target> {
  const { name, entry } = definition;
  if (!existsSync(entry)) throw new Error(`${name} is not built: ${entry} is missing`);
  const port = await findFreePort();
  const env = targetEnvironment(port, stage.upstream.port, stage.redis.port);
  const child = startChild(name, process.execPath, [entry], { core: "target", env });
  await waitForPort(child, port);
  const measured = { name, cpuUsPerRequest: [], requestsPerSecond: [], addedMs: [] };
  return { definition, child, port, measured };
}

/** Runs one slot of load. A failure ends the whole run, since partial figures would mislead. */
async function runSlot({ process: child, ended }: Load, name: string, slot: Slot) {
  child.send(slot);
  // The load generator sends no other messages.
  const [result] = (await once(child, "message", { signal: ended })) as [SlotResult]; // oxlint-disable-line typescript/no-unsafe-type-assertion
  if (result.kind === "failed") throw new Error(`${name}: ${result.reason}`);
  return result;
}

async function measure(targets: readonly Target[], stage: Stage, plan: Plan): Promise<void> {
  const busy = { route: "send", connections: CONNECTIONS } as const;
  for (const { definition, child, port } of targets) {
    console.log(`warming up ${definition.name}`);
    const times = { rampMs: 0, measureMs: plan.warmUpMs };
    await runSlot(stage.load, definition.name, { ...busy, ...times, port, pid: child.pid });
  }
  const times = { rampMs: plan.rampMs, measureMs: plan.slotMs };
  for (let round = 1; round <= plan.rounds; round += 1) {
    console.log(`round ${round} of ${plan.rounds}`);
    for (const { definition, child, port, measured } of targets) {
      const slot = { ...busy, ...times, port, pid: child.pid };
      const { requests, seconds, cpuUs } = await runSlot(stage.load, definition.name, slot);
      if (requests === 0) throw new Error(`${definition.name}: nothing was answered in time`);
      measured.requestsPerSecond.push(requests / seconds);
      if (cpuUs !== null) measured.cpuUsPerRequest.push(cpuUs / requests);
    }
  }
}

async function measureLatency(targets: readonly Target[], stage: Stage, plan: Plan): Promise<void> {
  const times = { connections: 1, rampMs: plan.rampMs, measureMs: plan.latencySlotMs };
  const { child: upstream, port: upstreamPort } = stage.upstream;
  for (let round = 1; round <= plan.latencyRounds; round += 1) {
    console.log(`round ${round} of ${plan.latencyRounds} over one connection`);
    const direct = { ...times, route: "direct", port: upstreamPort, pid: upstream.pid } as const;
    const { medianMs: directMs } = await runSlot(stage.load, "upstream", direct);
    for (const { definition, child, port, measured } of targets) {
      const slot = { ...times, route: "send", port, pid: child.pid } as const;
      const { medianMs } = await runSlot(stage.load, definition.name, slot);
      measured.addedMs.push(medianMs - directMs);
    }
  }
}

function describeMachine(): string {
  const [cpu, ...others] = cpus();
  const redis = spawnSync("redis-server", ["--version"], { encoding: "utf8" }).stdout;
  return [
    new Date().toISOString(),
    `${cpu?.model.trim() ?? "unknown processor"} x ${others.length + 1}`,
    `load average ${loadavg()[0]?.toFixed(1) ?? "?"}`,
    `Node ${process.version}`,
    `Redis ${/v=(\S+)/.exec(redis)?.[1] ?? "?"}`,
    pinned ? "target alone on core 1, all else on core 0" : "NOT pinned to cores: no taskset here",
  ].join(", ");
}

function listPeers(): string {
  const text = readFileSync(path.join(peersFolder, "package.json"), "utf8");
  const { dependencies } = JSON.parse(text) as { dependencies: Record<string, string> }; // oxlint-disable-line typescript/no-unsafe-type-assertion -- our own file
  return Object.entries(dependencies)
    .map(([name, version]) => `${name} ${version}`)
    .join(", ");
}

async function run(): Promise<void> {
  const { plan, definitions } = readArguments();
  installPeers();
  const deadline = setTimeout(() => giveUp("took too long"), plan.deadlineMs);
  try {
    const stage = await startStage();
    const redis = new Redis(stage.redis.port, "127.0.0.1");
    const targets: Target[] = [];
    try {
      for (const definition of definitions) {
        const target = await startTarget(definition, stage);
        await checkTarget(definition, target.port, stage.upstream.port, redis);
        targets.push(target);
      }
    } finally {
      redis.disconnect();
    }
    await measure(targets, stage, plan);
    await measureLatency(targets, stage, plan);
    const all = targets.map(({ measured }) => measured);
    const find = (name: string) => all.find((measured) => measured.name === name);
    console.log(`\n${describeMachine()}\n${listPeers()}\n`);
    console.log(`${CONNECTIONS} connections; base is ${BASE}, product is ${PRODUCT}\n`);
    console.log(renderTable(all, find(BASE), find(PRODUCT)));
  } finally {
    clearTimeout(deadline);
    await stopChildren();
  }
}

function giveUp(reason: string): never {
  console.error(`bench: ${reason}`);
  killChildren();
  process.exit(1);
}

for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => giveUp(`ended by ${signal}`));
}
await run().catch((error: unknown) =>
  giveUp(error instanceof Error ? error.message : String(error)),
);
