/** The parts of a run that fill something: places, Redis, processes. */
import { Redis } from "ioredis";

import { startCluster } from "../test/support/redis-cluster.ts";
import { sendOnce } from "./check.ts";
import { readResidentBytes } from "./cpu-time.ts";
import { compare, type Plan, stopAll } from "./parts.ts";
import {
  delayUpstream,
  runSlot,
  type Stage,
  startRedis,
  startTarget,
  type Target,
} from "./stage.ts";
import { renderSizing } from "./sizing.ts";
import { format, median, ratio, renderTable } from "./table.ts";
import { BASE, findTarget, FULL, PRODUCT } from "./targets.ts";

const MEBIBYTE = 1_048_576;

const IN_FLIGHT = 2_000;
const UPSTREAM_DELAY_MS = 1_000;
const IN_FLIGHT_MS = 4_000;
const SAMPLE_MS = 50;

/** Memory with 2,000 messages in flight, in as many chats; UponAI takes a second for each. */
export async function measureInFlight(stage: Stage, plan: Plan): Promise<string> {
  const rows = [];
  let baseGrowth = Number.NaN;
  for (const name of [BASE, FULL, PRODUCT]) {
    console.log(`${IN_FLIGHT} in flight: ${name}`);
    const target = await startTarget(findTarget(name), stage);
    // Compiled code and the heap's first growth are not what a message holds.
    await compare(stage, [sends(name, target)], { ...plan, rounds: 0 });
    await delayUpstream(stage, UPSTREAM_DELAY_MS);
    const idle = readResidentBytes(target.child.pid) ?? Number.NaN;
    let peak = idle;
    const sampling = setInterval(() => {
      peak = Math.max(peak, readResidentBytes(target.child.pid) ?? Number.NaN);
    }, SAMPLE_MS);
    // Fails if a message is lost or refused.
    const { requests } = await runSlot(stage.load, name, {
      kind: "send",
      connections: IN_FLIGHT,
      rampMs: 0,
      measureMs: IN_FLIGHT_MS,
      ports: [target.port],
      pids: [target.child.pid],
    });
    clearInterval(sampling);
    await delayUpstream(stage, 0);
    await stopAll([target]);
    const growth = (peak - idle) / MEBIBYTE;
    if (name === BASE) baseGrowth = growth;
    rows.push([name, String(requests), format(growth, 0), format(growth / baseGrowth, 2)]);
  }
  return renderTable([["target", "answered", "RSS growth, MiB", `times ${BASE}`], ...rows]);
}

/** Names of records as the product writes them, and what they are. */
const RECORDS: readonly (readonly [pattern: string, name: string])[] = [
  ["*:u:*", "idle subject"],
  ["*:c2:*", "chat"],
  ["*:a:*", "client address"],
  ["*:k:*", "stored answer of 160 bytes"],
];
/** Limits whose records last long enough to be found. */
const LASTING = { LIMIT_IP: "100000/1d", LIMIT_SESSION_DAILY: "100000/1d" };
/** Admission and settlement. */
const SCRIPTS_PER_MESSAGE = 2;
const BATCH = 10_000;
/** Characters at the end of a key's name that make it another subject's, chat's or key's. */
const SUFFIX_CHARS = 8;

/** Redis memory per record, and the CPU time of a message while Redis holds many subjects. */
export async function measureSubjects(
  stage: Stage,
  plan: Plan,
): Promise<{ readonly table: string; readonly sizing: string }> {
  const server = await startRedis();
  const filled: Stage = { ...stage, redis: server };
  const redis = new Redis(server.port, "127.0.0.1");
  const plain = await startTarget(findTarget(PRODUCT), stage, LASTING);
  const crowded = await startTarget(findTarget(PRODUCT), filled, LASTING);
  // Real messages first, so that there is a record of each kind to copy.
  await compare(filled, [sends("messages with keys", crowded, "keyed")], { ...plan, rounds: 0 });
  const rows = [];
  const bytes = new Map<string, number>();
  const samples = await readSamples(redis);
  for (const [database, [, name]] of RECORDS.entries()) {
    // A database of its own for each, so that none pays for a larger table of keys.
    await redis.select(database);
    const count = name === "idle subject" ? plan.subjects : plan.subjects / 10;
    console.log(`writing ${count} records: ${name}`);
    const each = await copyRecord(redis, samples.get(name), count);
    bytes.set(name, each);
    rows.push([name, String(count), format(each, 0)]);
  }
  await redis.config("RESETSTAT");
  const series = await compare(filled, [sends("few", plain), sends("many", crowded)], plan);
  const redisUs = await readScriptUs(redis);
  redis.disconnect();
  const change = ratio(series.get("many")?.cpuUs ?? [], series.get("few")?.cpuUs ?? []);
  await stopAll([plain, crowded]);
  const sizing = renderSizing({
    messagesPerSecond: median(series.get("few")?.perSecond ?? []),
    redisUsPerMessage: SCRIPTS_PER_MESSAGE * redisUs,
    bytes: {
      "idle subject": bytes.get("idle subject") ?? Number.NaN,
      chat: bytes.get("chat") ?? Number.NaN,
    },
  });
  const table = renderTable([["record", "written", "bytes of Redis memory each"], ...rows]);
  const note = `CPU time of a message with ${plan.subjects} subjects in Redis: ${format(change, 2)} times that with 4,096. Redis takes ${format(redisUs, 1)} µs per script.`;
  return { table: `${table}\n\n${note}`, sizing };
}

/** Time of one script in Redis since the counters were reset, in microseconds. */
async function readScriptUs(redis: Redis): Promise<number> {
  const stats = await redis.info("commandstats");
  return Number(/^cmdstat_evalsha:.*usec_per_call=([\d.]+)/m.exec(stats)?.[1]);
}

function sends(name: string, target: Target, kind: "send" | "keyed" = "send") {
  return { name, targets: [target], kind };
}

/** One record of each kind. */
interface Sample {
  readonly key: string;
  readonly text: string;
  readonly ttlMs: number;
}

async function readSamples(redis: Redis): Promise<Map<string, Sample>> {
  const samples = new Map<string, Sample>();
  for (const [pattern, name] of RECORDS) {
    // Before Redis is filled: one step of the scan sees everything.
    const [, [key]] = await redis.scan(0, "MATCH", pattern, "COUNT", 100_000);
    if (key === undefined) throw new Error(`the product wrote no record ${pattern}`);
    const [text, ttlMs] = await Promise.all([redis.get(key), redis.pttl(key)]);
    samples.set(name, { key, text: text ?? "", ttlMs });
  }
  return samples;
}

/** Copies one record under many names. Returns the memory of each copy in bytes. */
async function copyRecord(
  redis: Redis,
  sample: Sample | undefined,
  count: number,
): Promise<number> {
  if (sample === undefined) throw new Error("there is no such record");
  const { key, text, ttlMs } = sample;
  const before = await readUsedMemory(redis);
  for (let from = 0; from < count; from += BATCH) {
    const pipeline = redis.pipeline();
    for (let number = from; number < Math.min(from + BATCH, count); number += 1) {
      const suffix = number.toString(36).padStart(SUFFIX_CHARS, "_");
      const copy = key.slice(0, -SUFFIX_CHARS) + suffix;
      pipeline.set(copy, text, "PX", Math.max(ttlMs, 3_600_000));
    }
    await pipeline.exec();
  }
  return ((await readUsedMemory(redis)) - before) / count;
}

async function readUsedMemory(redis: Redis): Promise<number> {
  return Number(/^used_memory:(\d+)/m.exec(await redis.info("memory"))?.[1]);
}

const PROCESSES = [1, 2, 4] as const;
const LIMIT = 50;
const ATTEMPTS = 120;

/** CPU time per message and exactness of a limit with several processes, on one Redis and a Cluster. */
export async function measureScaleOut(stage: Stage, plan: Plan): Promise<string> {
  const cluster = await startCluster(0);
  try {
    const rows = [];
    let first: readonly number[] | undefined;
    for (const place of ["one Redis", "Cluster of three"] as const) {
      const env = place === "one Redis" ? {} : { REDIS_URL: cluster.url };
      for (const count of PROCESSES) {
        const name = `${count} on ${place}`;
        const targets: Target[] = [];
        for (let index = 0; index < count; index += 1) {
          targets.push(await startTarget(findTarget(PRODUCT), stage, env));
        }
        // Each process has its code to compile.
        const longer = { ...plan, warmUpMs: plan.warmUpMs * count };
        const series = await compare(stage, [{ name, targets, kind: "send" }], longer);
        await stopAll(targets);
        const cpuUs = series.get(name)?.cpuUs ?? [];
        first ??= cpuUs;
        const relative = format(median(cpuUs) / median(first), 2);
        const admitted = await countAdmitted(stage, count, {
          ...env,
          REDIS_PREFIX: `${name.replaceAll(" ", "-")}:`,
        });
        rows.push([name, format(median(cpuUs), 0), relative, `${admitted} of ${ATTEMPTS}`]);
      }
    }
    const head = [
      "processes",
      "CPU µs per message",
      "times one",
      `let through at a limit of ${LIMIT}`,
    ];
    return renderTable([head, ...rows]);
  } finally {
    await cluster.stop();
  }
}

/** How many messages of one subject pass a limit of `LIMIT`, sent to all processes at once. */
async function countAdmitted(
  stage: Stage,
  processes: number,
  env: Readonly<Record<string, string>>,
): Promise<number> {
  const limit = { LIMIT_SESSION: `${LIMIT}/1h` };
  const targets: Target[] = [];
  for (let index = 0; index < processes; index += 1) {
    targets.push(await startTarget(findTarget(PRODUCT), stage, { ...env, ...limit }));
  }
  const statuses = await Promise.all(
    Array.from({ length: ATTEMPTS }, (_, index) => {
      const { port = 0 } = targets[index % processes] ?? {};
      return sendOnce(port, 0, `scale-${index}`);
    }),
  );
  await stopAll(targets);
  return statuses.filter((status) => status === 201).length;
}
