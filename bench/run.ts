/**
 * Measures the product and comparable services on one machine in one run:
 *
 *   npm run bench -- [--quick] [--part=targets,kinds] [--only=floor-auth,uponai-bff]
 *     [--against=<other build's node.js>] [--write]
 *
 * The target has a core to itself. A real Redis, a stand-in for UponAI that answers at once and the
 * load share another one. Short slots alternate over all targets (A B C A B C …), so that other work
 * of the machine affects all targets equally: the ratios are more reliable than the figures. Compare
 * processor time per message first; messages per second also depend on the speed of the load.
 *
 * All processes listen on loopback only, run for a limited time, and end with this one.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { cpus, loadavg } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

import { measureInFlight, measureScaleOut, measureSubjects } from "./capacity.ts";
import { killChildren, leaveTargetCore, pinned, stopChildren } from "./child.ts";
import { climbLadder, compareKinds, compareTargets, type Plan } from "./parts.ts";
import { drawBars } from "./plot.ts";
import { type Stage, startStage } from "./stage.ts";
import { ladder, PRODUCT, type TargetDefinition, targetDefinitions } from "./targets.ts";

const here = fileURLToPath(new URL(".", import.meta.url));
const peersFolder = path.join(here, "peers");
const plotFile = path.join(here, "..", "docs", "performance.svg");

const FULL: Plan = {
  warmUpMs: 3_000,
  rounds: 10,
  rampMs: 200,
  slotMs: 1_200,
  latencyRounds: 5,
  latencySlotMs: 600,
  subjects: 1_000_000,
};
const QUICK: Plan = {
  warmUpMs: 1_000,
  rounds: 4,
  rampMs: 100,
  slotMs: 400,
  latencyRounds: 2,
  latencySlotMs: 200,
  subjects: 20_000,
};
/** The run is cancelled after this time, in milliseconds. */
const FULL_MS_MAX = 1_500_000;
const QUICK_MS_MAX = 115_000;
const INSTALL_MS_MAX = 100_000;

const PARTS = ["targets", "kinds", "in-flight", "subjects", "scale", "ladder"] as const;
type Part = (typeof PARTS)[number];
/** Without the parts that take longest. */
const QUICK_PARTS: readonly Part[] = ["targets", "kinds", "in-flight", "subjects"];

interface Run {
  readonly plan: Plan;
  readonly msMax: number;
  readonly parts: readonly Part[];
  readonly definitions: readonly TargetDefinition[];
  /** Whether the plot in `docs/` is drawn again. */
  readonly writes: boolean;
}

function readArguments(): Run {
  const { values } = parseArgs({
    options: {
      quick: { type: "boolean", default: false },
      part: { type: "string" },
      only: { type: "string" },
      against: { type: "string" },
      write: { type: "boolean", default: false },
    },
  });
  const definitions = select("only", values.only, targetDefinitions, ({ name }) => name);
  if (values.against !== undefined) {
    const entry = path.resolve(values.against);
    definitions.push({ name: "other build", entry, guarded: true });
  }
  const named = select("part", values.part, PARTS, (part) => part);
  return {
    plan: values.quick ? QUICK : FULL,
    msMax: values.quick ? QUICK_MS_MAX : FULL_MS_MAX,
    parts: values.part === undefined && values.quick ? QUICK_PARTS : named,
    definitions,
    writes: values.write,
  };
}

/** The items that an option names; all where it is absent. */
function select<Item>(
  option: string,
  list: string | undefined,
  items: readonly Item[],
  nameOf: (item: Item) => string,
): Item[] {
  const names = list?.split(",");
  const unknown = names?.find((name) => !items.some((item) => nameOf(item) === name));
  if (unknown !== undefined) throw new Error(`--${option}: there is no ${unknown}`);
  return items.filter((item) => names?.includes(nameOf(item)) ?? true);
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

async function measurePart(part: Part, stage: Stage, run: Run): Promise<string> {
  const { plan } = run;
  switch (part) {
    case "targets": {
      const { table, cpuUs } = await compareTargets(stage, run.definitions, plan);
      if (run.writes) drawPlot(cpuUs);
      return table;
    }
    case "kinds":
      return compareKinds(stage, plan);
    case "in-flight":
      return measureInFlight(stage, plan);
    case "subjects": {
      const { table, sizing } = await measureSubjects(stage, plan);
      return `${table}\n\n${sizing}`;
    }
    case "scale":
      return measureScaleOut(stage, { ...plan, rounds: Math.ceil(plan.rounds / 3) });
    case "ladder":
      return climbLadder(stage, ladder, plan);
  }
}

function drawPlot(cpuUs: ReadonlyMap<string, number>): void {
  const bars = [...cpuUs].map(([name, value]) => ({ name, value }));
  writeFileSync(plotFile, drawBars("CPU time per message, in microseconds", bars, PRODUCT));
}

async function measureAll(run: Run): Promise<void> {
  installPeers();
  leaveTargetCore();
  const deadline = setTimeout(() => giveUp("took too long"), run.msMax);
  try {
    const stage = await startStage();
    console.log(`${describeMachine()}\n${listPeers()}`);
    for (const part of run.parts) {
      console.log(`\n### ${part}\n\n${await measurePart(part, stage, run)}\n`);
    }
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
try {
  await measureAll(readArguments());
} catch (error) {
  giveUp(error instanceof Error ? error.message : String(error));
}
