/**
 * Runs the service under mixed traffic for a while, to find faults that a short test cannot show:
 *
 *   npm run soak -- [--seconds=60] [--connections=64]
 *
 * It starts a real Redis, the emulator, senders (one request in four is hostile), and hostile
 * clients and tenants (`neighbours.ts`). It fails unless each answer to a sender is an expected
 * one, none is a 5xx, each message answered 201 reached UponAI exactly once, and memory is bounded
 * and flat after the warm-up. Everything listens on loopback and stops with it.
 */
import { parseArgs } from "node:util";

import { Pool } from "undici";

import { type RunningEmulator, startEmulator } from "../../src/emulator/listen.ts";
import { bffEnvironment, UPSTREAM_TOKEN } from "../support/bff-fixture.ts";
import { type BffProcess, startBff } from "../support/bff-process.ts";
import { startRedis } from "../support/redis-server.ts";
import { measureGrowth, readGauge, type Sample } from "./memory.ts";
import { FAILING, failingChatId, startNeighbours } from "./neighbours.ts";
import { createSender, type Outcome, type Sender, sendRightly, sendWrongly } from "./traffic.ts";

const SECONDS_MAX = 3_600;
const CONNECTIONS_MAX = 1_000;
const HOSTILE_SHARE = 0.25;
const SAMPLE_EVERY_MS = 500;
/** Tolerated difference of the heap, in bytes: garbage collection is not regular. */
const HEAP_GROWTH_MAX = 8 * 1_048_576;
const RESIDENT_GROWTH_MAX = 48 * 1_048_576;
/**
 * Largest resident memory of the process, in bytes. Without bounds, unread answers would take far
 * more.
 */
const RESIDENT_MAX = 400 * 1_048_576;
/** The workspaces of the senders and of the neighbour whose messages fail. */
const SENDERS_WORKSPACE = 42;
const FAILING_WORKSPACE = 43;
/** Expected log line: the circuit of the failing tenant opens. */
const FAILING_CIRCUIT_LINE = "UponAI keeps failing: calls of this workspace are refused for now";
/** Settings that turn off the limits for so many messages. */
const NO_LIMITS = {
  LIMIT_SESSION: "off",
  LIMIT_IP: "off",
  LIMIT_WORKSPACE: "off",
  LIMIT_AUTH_FAILURES: "off",
};

function readPlan(): { readonly seconds: number; readonly connections: number } {
  const { values } = parseArgs({
    options: {
      seconds: { type: "string", default: "60" },
      connections: { type: "string", default: "64" },
    },
  });
  const plan = { seconds: Number(values.seconds), connections: Number(values.connections) };
  const right =
    plan.seconds >= 5 &&
    plan.seconds <= SECONDS_MAX &&
    Number.isInteger(plan.connections) &&
    plan.connections >= 1 &&
    plan.connections <= CONNECTIONS_MAX;
  if (!right) {
    throw new Error(`--seconds is 5 to ${SECONDS_MAX}, --connections 1 to ${CONNECTIONS_MAX}`);
  }
  return plan;
}

/** Counts the outcomes and collects violations. */
class Tally {
  readonly counts = new Map<string, number>();
  readonly faults = new Map<string, number>();
  requests = 0;
  verified = 0;
  /**
   * Messages answered 201 since the last check, and those of the check before, so that late
   * duplicates show.
   */
  #fresh: string[] = [];
  #seen: string[] = [];

  add({ kind, status, expected, taken }: Outcome): void {
    this.requests += 1;
    const name = `${kind}: ${status === 0 ? "no answer" : status}`;
    this.counts.set(name, (this.counts.get(name) ?? 0) + 1);
    if (!expected.includes(status)) this.blame(name);
    if (taken !== undefined) this.#fresh.push(taken);
  }

  blame(fault: string): void {
    this.faults.set(fault, (this.faults.get(fault) ?? 0) + 1);
  }

  /**
   * Checks answered messages at the emulator. Called often, since it remembers only 10,000
   * messages.
   */
  verify(emulator: RunningEmulator): void {
    const counts = new Map(emulator.messages().map((count) => [count.content, count]));
    for (const content of [...this.#fresh, ...this.#seen]) {
      const count = counts.get(content);
      if (count === undefined) this.blame("a message answered 201 that UponAI does not know");
      else if (count.arrived !== 1 || count.taken !== 1) {
        this.blame(`a message that arrived ${count.arrived} times and was taken ${count.taken}`);
      }
    }
    this.verified += this.#fresh.length;
    this.#seen = this.#fresh;
    this.#fresh = [];
  }
}

async function keepSending(sender: Sender, tally: Tally, untilMs: number): Promise<void> {
  while (performance.now() < untilMs) {
    const hostile = Math.random() < HOSTILE_SHARE;
    try {
      tally.add(await (hostile ? sendWrongly(sender, Math.random()) : sendRightly(sender)));
    } catch (error) {
      const code = error instanceof Error && "code" in error ? String(error.code) : "unknown";
      tally.blame(`${hostile ? "a hostile request" : "a message"} broke off: ${code}`);
    }
  }
}

async function sample(adminUrl: string): Promise<Sample> {
  const metrics = await (await fetch(`${adminUrl}/metrics`)).text();
  return {
    atMs: performance.now(),
    heapBytes: readGauge(metrics, "nodejs_heap_size_used_bytes"),
    residentBytes: readGauge(metrics, "process_resident_memory_bytes"),
  };
}

async function soak(bff: BffProcess, emulator: RunningEmulator): Promise<Tally> {
  const { seconds, connections } = readPlan();
  const listening = await bff.waitForLine(({ msg }) => msg === "listening");
  const adminUrl = `http://127.0.0.1:${String(listening["adminPort"])}`;
  const port = Number(listening["port"]);
  const pool = new Pool(bff.url, { connections });
  const tally = new Tally();
  const samples: Sample[] = [];
  let messages = 0;
  const nextContent = () => `message ${(messages += 1)}`;
  const senders = await Promise.all(
    Array.from({ length: connections }, (_, number) => {
      emulator.addChat({ chatId: `soak-${number}`, workspaceId: SENDERS_WORKSPACE });
      return createSender(pool, port, number, nextContent);
    }),
  );
  const watch = setInterval(() => {
    tally.verify(emulator);
    sample(adminUrl).then(
      (taken) => samples.push(taken),
      () => tally.blame("metrics were not answered"),
    );
  }, SAMPLE_EVERY_MS);
  for (let number = 0; number < FAILING.chats; number += 1) {
    emulator.addChat({ chatId: failingChatId(number), workspaceId: FAILING_WORKSPACE });
  }
  const neighbours = await startNeighbours(port);
  const untilMs = performance.now() + seconds * 1_000;
  await Promise.all(senders.map((sender) => keepSending(sender, tally, untilMs)));
  clearInterval(watch);
  await neighbours.stop();
  for (const [name, count] of neighbours.counts) tally.counts.set(`neighbours, ${name}`, count);
  await pool.close();
  // Twice: the second check finds messages that arrived again after the first.
  tally.verify(emulator);
  tally.verify(emulator);
  judge(bff, tally, samples);
  return tally;
}

function inMib(bytes: number): string {
  return `${(bytes / 1_048_576).toFixed(1)} MiB`;
}

function judge(bff: BffProcess, tally: Tally, samples: readonly Sample[]): void {
  const growth = measureGrowth(samples);
  console.log(
    `heap ${inMib(growth.heapBytes)}, resident ${inMib(growth.residentBytes)} more at the end`,
  );
  if (growth.heapBytes > HEAP_GROWTH_MAX) tally.blame("the heap grows");
  const peakBytes = Math.max(...samples.map(({ residentBytes }) => residentBytes));
  console.log(`resident ${inMib(peakBytes)} at most`);
  if (peakBytes > RESIDENT_MAX) tally.blame("the resident memory is not bounded");
  if (growth.residentBytes > RESIDENT_GROWTH_MAX) tally.blame("the resident memory grows");
  for (const { level, msg } of bff.log()) {
    if (msg === FAILING_CIRCUIT_LINE) continue;
    if (level === "fatal" || level === "error" || msg === "runtime warning") {
      tally.blame(`a line in the log: ${String(msg)}`);
    }
  }
}

const emulator = await startEmulator({
  tokens: { [UPSTREAM_TOKEN]: [SENDERS_WORKSPACE, FAILING_WORKSPACE] },
});
const redis = await startRedis();
const bff = await startBff(
  bffEnvironment(emulator.url, {
    ...NO_LIMITS,
    UPONAI_WORKSPACE_ID: "",
    WORKSPACES: JSON.stringify({
      senders: SENDERS_WORKSPACE,
      [FAILING.claim]: FAILING_WORKSPACE,
    }),
    REDIS_URL: redis.url,
    ADMIN_PORT: "0",
    NODE_ENV: "production",
    LOG_LEVEL: "warn",
  }),
);
let tally: Tally;
try {
  tally = await soak(bff, emulator);
  const code = await bff.stop();
  if (code !== 0) tally.blame(`the service ended with exit code ${String(code)}`);
} finally {
  bff.signal("SIGKILL");
  await Promise.all([redis.kill(), emulator.close()]);
}
for (const [name, count] of [...tally.counts].toSorted(([one], [other]) =>
  one.localeCompare(other),
))
  console.log(`${String(count).padStart(8)}  ${name}`);
console.log(`${tally.requests} requests, ${tally.verified} messages answered 201, each there once`);
for (const [fault, count] of tally.faults) console.log(`FAULT: ${fault} (${count} times)`);
process.exitCode = tally.faults.size === 0 ? 0 : 1;
