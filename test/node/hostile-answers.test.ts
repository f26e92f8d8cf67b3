/** Memory use with fifty concurrent UponAI answers that are made to exhaust the reader. */
import { setTimeout } from "node:timers/promises";

import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";

import type { Fault } from "../../src/emulator/faults.ts";
import type { RunningEmulator } from "../../src/emulator/listen.ts";
import { readGauge } from "../soak/memory.ts";
import { readCode, sendMessage, startTestBff, startTestEmulator } from "../support/bff-fixture.ts";
import type { BffProcess } from "../support/bff-process.ts";

const PARALLEL = 50;
/** Decoded size of one answer. All together are a gigabyte, so that unbounded buffering shows. */
const BOMB_BYTES = 20 * 2 ** 20;
/** Tolerated growth: per answer twice MAX_UPSTREAM_BYTES (encoded and decoded), and garbage. */
const GROWTH_MAX = 400 * 2 ** 20;
const SAMPLE_EVERY_MS = 20;

let emulator: RunningEmulator;
let bff: BffProcess;
let adminUrl: string;

beforeAll(async () => {
  emulator = await startTestEmulator();
});
beforeEach(() => emulator.reset());
afterEach(() => bff.stop());
afterAll(() => emulator.close());

async function start(upstreamTimeout: string): Promise<void> {
  bff = await startTestBff(emulator.url, {
    ADMIN_PORT: "0",
    UPSTREAM_TIMEOUT: upstreamTimeout,
    LIMIT_SESSION: "off",
    LIMIT_IP: "off",
    LIMIT_WORKSPACE: "off",
  });
  const { adminPort } = await bff.waitForLine(({ msg }) => msg === "listening");
  adminUrl = `http://127.0.0.1:${String(adminPort)}`;
}

async function scrape(): Promise<string> {
  return (await fetch(`${adminUrl}/metrics`)).text();
}

async function readResident(): Promise<number> {
  return readGauge(await scrape(), "process_resident_memory_bytes");
}

function sendParallel(content: string): Promise<Response[]> {
  return Promise.all(
    Array.from({ length: PARALLEL }, (_, index) => {
      const chatId = `hostile-${index}`;
      emulator.addChat({ chatId, workspaceId: 42 });
      return sendMessage(bff.url, content, { chatId });
    }),
  );
}

/** The highest resident memory of the service during `work`, in bytes. */
async function measurePeak(work: Promise<unknown>): Promise<number> {
  const over = new AbortController();
  const end = () => over.abort();
  work.then(end, end);
  let peak = 0;
  while (!over.signal.aborted) {
    peak = Math.max(peak, await readResident());
    await setTimeout(SAMPLE_EVERY_MS);
  }
  return peak;
}

async function isServed(): Promise<boolean> {
  return (await sendMessage(bff.url, "after")).status === 201;
}

interface Case {
  readonly name: string;
  readonly fault: Fault;
  readonly upstreamTimeout: string;
  readonly code: string;
}

const malformed = { upstreamTimeout: "20s", code: "upstream_malformed" };

const cases: readonly Case[] = [
  { name: "compressed bombs", fault: { kind: "gzip", bytes: BOMB_BYTES }, ...malformed },
  { name: "huge answers", fault: { kind: "huge", bytes: BOMB_BYTES }, ...malformed },
  { name: "redirects", fault: { kind: "redirect" }, ...malformed },
  {
    name: "slow drips",
    fault: { kind: "drip", everyMs: 500 },
    upstreamTimeout: "2s",
    code: "upstream_timeout",
  },
];

test.each(cases)(
  "fifty $name at once: all refused, in bounded memory, and later ones are served",
  async ({ fault, upstreamTimeout, code }) => {
    await start(upstreamTimeout);
    await sendParallel("warm-up");
    const before = await readResident();
    emulator.addFault(fault, { times: PARALLEL, operation: "completion" });
    const attack = sendParallel("attack");
    const peak = await measurePeak(attack);
    expect(peak - before).toBeLessThan(GROWTH_MAX);
    const codes = await Promise.all((await attack).map(readCode));
    expect(new Set(codes)).toEqual(new Set([code]));
    // No message was sent twice.
    const attacks = emulator.messages().filter(({ content }) => content === "attack");
    expect(attacks.map(({ arrived }) => arrived)).toEqual(codes.map(() => 1));
    expect(readGauge(await scrape(), "bff_in_flight")).toBe(0);
    // So many time-outs open the circuit. It lets one call pass after five seconds.
    await expect.poll(isServed, { timeout: 10_000, interval: 200 }).toBe(true);
  },
);
