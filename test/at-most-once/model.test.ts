/**
 * Tests the guarantee "at most once, with answer recovery" on random histories: messages, repeats,
 * lost and late answers, bounded waits, instances that stall, crash or lose leases, and clients that
 * leave. `watch.ts` has the invariants.
 *
 * EXACTLY_ONCE_RUNS sets the number of histories; EXACTLY_ONCE_SEED repeats a run.
 */
import * as fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";

import { type RedisServer, startRedis } from "../support/redis-server.ts";
import { conclude, histories } from "./history.ts";
import { connectRedis, openMemory, type OpenState } from "./shared-states.ts";
import { STORED_WINDOW_US, type StateSettings } from "../../src/admission/state-settings.ts";
import { SETTINGS } from "../support/state-fixtures.ts";
import { createFleet, type Fleet, holdTimers, World } from "./world.ts";

const { EXACTLY_ONCE_RUNS: runs, EXACTLY_ONCE_SEED: seed } = process.env;
const options = seed === undefined ? {} : { seed: Number(seed) };

const environment = {
  CHAT_ACCESS: "workspace",
  LIMIT_SESSION: "off",
  LIMIT_WORKSPACE: "off",
  LIMIT_IP: "off",
};

let server: RedisServer;
let redis: Awaited<ReturnType<typeof connectRedis>>;
let fleet: Fleet;
let releaseTimers: () => void;

beforeAll(async () => {
  server = await startRedis();
  redis = await connectRedis(server.url);
  fleet = await createFleet(environment);
  releaseTimers = holdTimers();
});
afterAll(async () => {
  releaseTimers();
  redis.close();
  await server.kill();
});

type Steps = Parameters<typeof fc.asyncModelRun<World, World, false, World>>[1];

/** Number of answers in all histories, by outcome. */
class Tally {
  histories = 0;
  steps = 0;
  longest = 0;
  readonly outcomes = new Map<string, number>();

  add(world: World): void {
    const steps = world.watch.lines.filter((line) => line.startsWith("-- ")).length - 1;
    this.histories += 1;
    this.steps += steps;
    this.longest = Math.max(this.longest, steps);
    const posters = new Set(world.upstream.posts.map(({ sender }) => sender));
    for (const { id, asked, told } of world.attempts) {
      if (told === undefined || asked.do !== "send") continue;
      const how =
        told.kind === "cut"
          ? "cut"
          : `${told.status} ${told.code ?? ""}${told.replayed ? "replayed" : told.recovered ? "recovered" : ""}`;
      this.count(how);
      if (how === "201 " && !posters.has(id))
        this.count("201 of a message that another request ran");
    }
    for (const { stage } of world.upstream.posts) this.count(`post ${stage}`);
  }

  count(what: string): void {
    this.outcomes.set(what, (this.outcomes.get(what) ?? 0) + 1);
  }

  of(what: string): number {
    return this.outcomes.get(what) ?? 0;
  }

  report(): string {
    const counted = [...this.outcomes].toSorted(([, one], [, other]) => other - one);
    return [
      `${this.histories} histories, ${this.steps} steps, longest ${this.longest}`,
      ...counted.map(([what, times]) => `${String(times).padStart(8)} ${what}`),
    ].join("\n");
  }
}

async function play(
  open: OpenState,
  steps: Steps,
  tally: Tally,
  settings?: StateSettings,
): Promise<readonly string[]> {
  const world = await World.create(fleet, open, settings);
  await fc.asyncModelRun(() => ({ model: world, real: world }), steps);
  await conclude(world);
  tally.add(world);
  return world.watch.lines;
}

/**
 * Results per step. Within one step the order may differ, because it depends on round trips to
 * Redis.
 */
function inSteps(lines: readonly string[]): string[][] {
  const steps: string[][] = [];
  for (const line of lines) {
    if (line.startsWith("-- ")) steps.push([]);
    steps.at(-1)?.push(line);
  }
  return steps.map((step) => step.toSorted());
}

function report(tally: Tally): void {
  if (runs !== undefined) console.log(tally.report());
}

test("with the state in the process", async () => {
  const tally = new Tally();
  await fc.assert(
    fc.asyncProperty(histories(60), async (steps) => {
      await play(openMemory, steps, tally);
    }),
    { numRuns: Number(runs ?? 1_000), ...options },
  );
  report(tally);
  expect(tally.of("201 recovered")).toBeGreaterThan(0);
  expect(tally.of("201 replayed")).toBeGreaterThan(0);
  expect(tally.of("202 ")).toBeGreaterThan(0);
  expect(tally.of("201 of a message that another request ran")).toBeGreaterThan(0);
}, 3_600_000);

/** Settings with which no answer is stored, so that each repeat has to recover it. */
const NOTHING_STORED = { ...SETTINGS, subjectKibUs: 2 * STORED_WINDOW_US };

test("where no answer has room in the byte budgets, and repeats find it in the transcript", async () => {
  const tally = new Tally();
  await fc.assert(
    fc.asyncProperty(histories(60), async (steps) => {
      const inProcess = await play(openMemory, steps, new Tally(), NOTHING_STORED);
      const inRedis = await play(redis.open, steps, tally, NOTHING_STORED);
      expect(inSteps(inRedis)).toEqual(inSteps(inProcess));
    }),
    { numRuns: Math.ceil(Number(runs ?? 1_000) / 5), ...options },
  );
  report(tally);
  expect(tally.of("201 recovered")).toBeGreaterThan(0);
  expect(tally.of("201 replayed")).toBe(0);
}, 3_600_000);

test("with the state in Redis, where the same steps have the same outcomes", async () => {
  const tally = new Tally();
  await fc.assert(
    fc.asyncProperty(histories(60), async (steps) => {
      const inProcess = await play(openMemory, steps, new Tally());
      const inRedis = await play(redis.open, steps, tally);
      expect(inSteps(inRedis)).toEqual(inSteps(inProcess));
    }),
    { numRuns: Math.ceil(Number(runs ?? 1_000) / 5), ...options },
  );
  report(tally);
  expect(tally.of("201 recovered")).toBeGreaterThan(0);
}, 3_600_000);
