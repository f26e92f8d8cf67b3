/** The parts of a run: each measures one thing and returns its table, in Markdown. */
import { sendOnce } from "./check.ts";
import { stopChild } from "./child.ts";
import type { RequestKind } from "./requests.ts";
import { WORKSPACES } from "./sessions.ts";
import { measureCpu, runSlot, type Stage, startTarget, type Target } from "./stage.ts";
import { format, formatRange, median, ratio, renderTable } from "./table.ts";
import { BASE, findTarget, FULL, PRODUCT, type TargetDefinition } from "./targets.ts";

/** Number and length of the slots of a run; times in milliseconds. */
export interface Plan {
  readonly warmUpMs: number;
  readonly rounds: number;
  readonly rampMs: number;
  readonly slotMs: number;
  readonly latencyRounds: number;
  readonly latencySlotMs: number;
  /** Subjects whose state fills Redis. */
  readonly subjects: number;
}

const CONNECTIONS = 64;
const BUSY = { connections: CONNECTIONS } as const;

/** What a series measured: one entry per round. */
interface Series {
  readonly cpuUs: number[];
  readonly perSecond: number[];
}

/** One series of a comparison: some requests to some processes. */
interface Contender {
  readonly name: string;
  readonly targets: readonly Target[];
  readonly kind: RequestKind;
}

/**
 * Measures several series. Their slots alternate (A B C A B C …), so that other work of the machine
 * affects all of them equally.
 */
export async function compare(
  stage: Stage,
  contenders: readonly Contender[],
  plan: Plan,
): Promise<Map<string, Series>> {
  const all = new Map<string, Series>(
    contenders.map(({ name }) => [name, { cpuUs: [], perSecond: [] }]),
  );
  for (const { name, targets, kind } of contenders) {
    console.log(`warming up ${name}`);
    await measureCpu(stage, targets, { ...BUSY, kind, rampMs: 0, measureMs: plan.warmUpMs });
  }
  for (let round = 1; round <= plan.rounds; round += 1) {
    console.log(`round ${round} of ${plan.rounds}`);
    for (const { name, targets, kind } of contenders) {
      const times = { rampMs: plan.rampMs, measureMs: plan.slotMs };
      const { cpuUs, perSecond } = await measureCpu(stage, targets, { ...BUSY, ...times, kind });
      all.get(name)?.cpuUs.push(cpuUs);
      all.get(name)?.perSecond.push(perSecond);
    }
  }
  return all;
}

function sendTo(target: Target): Contender {
  return { name: target.definition.name, targets: [target], kind: "send" };
}

/** CPU time per message and added latency of every target. */
export async function compareTargets(
  stage: Stage,
  definitions: readonly TargetDefinition[],
  plan: Plan,
): Promise<{ readonly table: string; readonly cpuUs: ReadonlyMap<string, number> }> {
  const targets = await startAll(stage, definitions);
  const series = await compare(stage, targets.map(sendTo), plan);
  const addedMs = await measureLatency(stage, targets, plan);
  const base = series.get(BASE)?.cpuUs ?? [];
  const full = series.get(FULL)?.cpuUs ?? [];
  const baseAdded = addedMs.get(BASE) ?? [];
  const rows = [...series].map(([name, { cpuUs, perSecond }]) => [
    name,
    format(median(cpuUs), 0),
    formatRange(cpuUs),
    format(median(perSecond), 0),
    format(ratio(cpuUs, base), 2),
    format(ratio(cpuUs, full), 2),
    format(median(addedMs.get(name) ?? []), 2),
    format(median(addedMs.get(name) ?? []) / median(baseAdded), 2),
  ]);
  const head = [
    "target",
    "CPU µs per message",
    "range",
    "messages/s",
    `times ${BASE}`,
    `times ${FULL}`,
    "added p50 ms",
    `times ${BASE}`,
  ];
  const cpuUs = new Map([...series].map(([name, measured]) => [name, median(measured.cpuUs)]));
  await stopAll(targets);
  return { table: renderTable([head, ...rows]), cpuUs };
}

/** Median time to an answer over one connection, less the upstream's, in milliseconds per round. */
async function measureLatency(
  stage: Stage,
  targets: readonly Target[],
  plan: Plan,
): Promise<Map<string, number[]>> {
  const times = { connections: 1, rampMs: plan.rampMs, measureMs: plan.latencySlotMs };
  const added = new Map<string, number[]>(targets.map(({ definition }) => [definition.name, []]));
  const { child, port } = stage.upstream;
  for (let round = 1; round <= plan.latencyRounds; round += 1) {
    console.log(`round ${round} of ${plan.latencyRounds} over one connection`);
    const direct = { ...times, kind: "direct", ports: [port], pids: [child.pid] } as const;
    const { medianMs: directMs } = await runSlot(stage.load, "upstream", direct);
    for (const target of targets) {
      const { name } = target.definition;
      const one = { ports: [target.port], pids: [target.child.pid] };
      const { medianMs } = await runSlot(stage.load, name, { ...times, ...one, kind: "send" });
      added.get(name)?.push(medianMs - directMs);
    }
  }
  return added;
}

/** CPU time from `floor-full` to the product, one part of the product at a time. */
export async function climbLadder(
  stage: Stage,
  definitions: readonly TargetDefinition[],
  plan: Plan,
): Promise<string> {
  const targets = await startAll(stage, definitions);
  const series = [...(await compare(stage, targets.map(sendTo), plan))];
  const [, first] = series[0] ?? [];
  const rows = series.map(([name, { cpuUs }], index) => {
    const before = series[index - 1]?.[1].cpuUs ?? cpuUs;
    const added = cpuUs.map((us, round) => us - (before[round] ?? Number.NaN));
    return [
      name,
      format(median(cpuUs), 0),
      format(median(added), 1),
      format(ratio(cpuUs, first?.cpuUs ?? []), 2),
    ];
  });
  await stopAll(targets);
  const head = ["step", "CPU µs per message", "added", `times ${FULL}`];
  return renderTable([head, ...rows]);
}

const REFUSALS = [
  "no session",
  "forged session",
  "no workspace",
  "too large",
] as const satisfies readonly RequestKind[];

/** CPU time of messages with a key, of repeats and of refusals, against a plain message. */
export async function compareKinds(stage: Stage, plan: Plan): Promise<string> {
  const product = await startTarget(findTarget(PRODUCT), stage);
  const full = await startTarget(findTarget(FULL), stage);
  // Its limit is used up by its check and by the warm-up of its own sessions.
  const limited = await startLimited(stage);
  const contender = (kind: RequestKind, target = product): Contender => ({
    name: target === full ? `${FULL}, ${kind}` : kind,
    targets: [target],
    kind,
  });
  const contenders = [
    contender("send"),
    contender("keyed"),
    contender("replay"),
    ...REFUSALS.map((kind) => contender(kind)),
    contender("over limit", limited),
    contender("send", full),
    contender("keyed", full),
  ];
  const series = await compare(stage, contenders, plan);
  const success = series.get("send")?.cpuUs ?? [];
  const rows = [...series].map(([name, { cpuUs }]) => [
    name,
    format(median(cpuUs), 0),
    format(ratio(cpuUs, success), 2),
  ]);
  await stopAll([product, full, limited]);
  return renderTable([["request", "CPU µs", "times send"], ...rows]);
}

/** Starts the product with a limit that is used up, for an hour. */
async function startLimited(stage: Stage): Promise<Target> {
  const quota = 10;
  const env = { LIMIT_WORKSPACE: `${quota}/1h`, REDIS_PREFIX: "limited:" };
  const target = await startTarget(findTarget(PRODUCT), stage, env);
  const messages = quota * Object.keys(WORKSPACES).length;
  for (let number = 0; number < messages; number += 1) await sendOnce(target.port, number);
  return target;
}

export async function startAll(
  stage: Stage,
  definitions: readonly TargetDefinition[],
): Promise<Target[]> {
  const targets: Target[] = [];
  for (const definition of definitions) targets.push(await startTarget(definition, stage));
  return targets;
}

export async function stopAll(targets: readonly Target[]): Promise<void> {
  await Promise.all(targets.map(({ child }) => stopChild(child)));
}
