/** Starts what a run needs: Redis, the stand-in for UponAI, the load generator and the targets. */
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

import { Redis } from "ioredis";

import { checkTarget } from "./check.ts";
import { type Child, findFreePort, startChild, waitForPort } from "./child.ts";
import type { Slot, SlotResult } from "./load.ts";
import { type TargetDefinition, targetEnvironment } from "./targets.ts";

const here = fileURLToPath(new URL(".", import.meta.url));

export interface Server {
  readonly child: Child;
  readonly port: number;
}

export interface Stage {
  readonly upstream: Server;
  readonly redis: Server;
  readonly load: Load;
}

/** The load generator. */
export interface Load {
  readonly process: ChildProcess;
  /** Aborted when the process ends, after which no more messages come. */
  readonly ended: AbortSignal;
}

export interface Target extends Server {
  readonly definition: TargetDefinition;
}

export async function startStage(): Promise<Stage> {
  return { redis: await startRedis(), upstream: await startUpstream(), load: startLoad() };
}

/** Starts a Redis that stores nothing on disk. */
export async function startRedis(...options: readonly string[]): Promise<Server> {
  const port = await findFreePort();
  const child = startChild(
    "redis-server",
    "redis-server",
    ["--port", String(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"].concat(
      ["--dir", tmpdir()],
      options,
    ),
    { core: "other" },
  );
  await waitForPort(child, port);
  return { child, port };
}

async function startUpstream(): Promise<Server> {
  const port = await findFreePort();
  const child = startScript("upstream", path.join(here, "upstream.ts"), { PORT: String(port) });
  await waitForPort(child, port);
  return { child, port };
}

/** Makes the stand-in for UponAI wait before each answer. */
export async function delayUpstream({ upstream }: Stage, ms: number): Promise<void> {
  await fetch(`http://127.0.0.1:${upstream.port}/delay/${ms}`);
}

function startLoad(): Load {
  const ended = new AbortController();
  const { process: child } = startScript("load", path.join(here, "load.ts"), {});
  child.once("exit", () => ended.abort(new Error("the load generator has ended")));
  return { process: child, ended: ended.signal };
}

function startScript(name: string, file: string, env: Record<string, string>): Child {
  return startChild(name, process.execPath, [file], { core: "other", ipc: true, env });
}

/** Starts a target and checks that it does the job. */
export async function startTarget(
  definition: TargetDefinition,
  { upstream, redis }: Pick<Stage, "upstream" | "redis">,
  env: Readonly<Record<string, string>> = {},
): Promise<Target> {
  const { name, entry } = definition;
  if (!existsSync(entry)) throw new Error(`${name} is not built: ${entry} is missing`);
  const port = await findFreePort();
  const child = startChild(name, process.execPath, [entry], {
    core: "target",
    env: { ...targetEnvironment(port, upstream.port, redis.port), ...definition.env, ...env },
  });
  await waitForPort(child, port);
  // With a Redis of its own, its commands are not counted.
  const client = "REDIS_URL" in env ? undefined : new Redis(redis.port, "127.0.0.1");
  try {
    await checkTarget(definition, port, upstream.port, client);
  } finally {
    client?.disconnect();
  }
  return { definition, child, port };
}

/** Runs one slot of load. A failure ends the whole run, since partial figures would mislead. */
export async function runSlot({ process: child, ended }: Load, name: string, slot: Slot) {
  child.send(slot);
  // The load generator sends no other messages.
  const [result] = (await once(child, "message", { signal: ended })) as [SlotResult]; // oxlint-disable-line typescript/no-unsafe-type-assertion
  if (result.kind === "failed") throw new Error(`${name}: ${result.reason}`);
  if (result.requests === 0) throw new Error(`${name}: nothing was answered in time`);
  return result;
}

/** CPU time per request in a slot, in microseconds; NaN where it cannot be read. */
export async function measureCpu(
  { load }: Stage,
  targets: readonly Target[],
  slot: Omit<Slot, "ports" | "pids">,
): Promise<{ readonly cpuUs: number; readonly perSecond: number }> {
  const name = `${targets[0]?.definition.name ?? ""}, ${slot.kind}`;
  const ports = targets.map(({ port }) => port);
  const pids = targets.map(({ child }) => child.pid);
  const { cpuUs, requests, seconds } = await runSlot(load, name, { ...slot, ports, pids });
  return { cpuUs: (cpuUs ?? Number.NaN) / requests, perSecond: requests / seconds };
}
