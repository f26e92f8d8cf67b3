/**
 * Fuzzes the listener: thousands of connections with broken, truncated, mixed and abandoned
 * requests. The process still serves afterwards, leaks nothing and logs no defect. `FUZZ_SEED`
 * repeats a run.
 */
import { connect } from "node:net";

import * as fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";

import type { RunningEmulator } from "../../src/emulator/listen.ts";
import { readGauge } from "../soak/memory.ts";
import { CHAT, sendMessage, startTestBff, startTestEmulator } from "../support/bff-fixture.ts";
import type { BffProcess } from "../support/bff-process.ts";
import { mintToken } from "../support/session-tokens.ts";

const PUBLIC_CONNECTIONS = 4_000;
const ADMIN_CONNECTIONS = 1_500;
/** Connections at a time; fewer than one address may have. */
const CONCURRENT = 40;
/** Time after which the client leaves a connection that the service keeps open, in milliseconds. */
const PATIENCE_MS = 40;
const MEBIBYTE = 1_048_576;
/**
 * Tolerated growth, in bytes: compiled code and a larger heap are no leak. The traffic is far
 * larger.
 */
const GROWTH_MAX = 250 * MEBIBYTE;
const FILES_SLACK = 20;

const seed = Number(process.env["FUZZ_SEED"] ?? Math.floor(Math.random() * 2 ** 31));

let emulator: RunningEmulator;
let bff: BffProcess;
let adminUrl: string;
let token: string;

beforeAll(async () => {
  emulator = await startTestEmulator();
  bff = await startTestBff(emulator.url, {
    ADMIN_PORT: "0",
    LIMIT_SESSION: "off",
    LIMIT_IP: "off",
    LIMIT_WORKSPACE: "off",
    LOG_LEVEL: "warn",
  });
  const { adminPort } = await bff.waitForLine(({ msg }) => msg === "listening");
  adminUrl = `http://127.0.0.1:${String(adminPort)}`;
  token = await mintToken();
});
afterAll(async () => {
  await bff.stop();
  await emulator.close();
});

/** How a client ends its connection. */
type Leave = "reset" | "close" | "half-close" | "wait";

interface Program {
  /** The pieces, written in order. */
  readonly pieces: readonly Uint8Array[];
  /** True if each piece is written only after the piece before has been flushed. */
  readonly slowly: boolean;
  readonly reads: boolean;
  readonly leave: Leave;
}

const TARGETS = [
  "/healthz",
  "/openapi.json",
  "/metrics",
  "/nowhere",
  "*",
  "//x",
  "x:1",
  "",
  "/%zz",
  "/\u00e9",
  `/chat/${CHAT}/send`,
  `/chat/x/%2e%2e/${CHAT}/send`,
  "http://x/healthz",
  `/${"a".repeat(40_000)}`,
];
const METHODS = "GET GET POST HEAD CONNECT CONNECT OPTIONS PRI TRACE QUERY X".split(" ");
const HEADERS = [
  "Host: x",
  "Host:",
  "Host: x/y",
  "Connection: close",
  "Connection: Upgrade",
  "Upgrade: websocket",
  "Upgrade: h2c",
  "Expect: 100-continue",
  "Expect: x",
  "X: \u00ff",
  "Content-Length: 20",
  "Content-Length: 3",
  "Content-Length: 99999999",
  "Content-Length: -1",
  "Transfer-Encoding: chunked",
  "Transfer-Encoding: gzip",
  "no colon",
  " folded",
  ": empty",
  "Content-Type: application/json",
  "Content-Encoding: gzip",
  "Authorization: Bearer TOKEN",
  `X-Long: ${"a".repeat(20_000)}`,
];
const BODIES = [
  "",
  '{"content":"fuzzed"}',
  "3\r\nabc\r\n0\r\n\r\n",
  "ffffffffff\r\n",
  "5;x=y\r\nab",
  "\0\0\0",
  "a".repeat(100_000),
];
const target = fc.constantFrom(...TARGETS);
const method = fc.constantFrom(...METHODS);
const header = fc.constantFrom(...HEADERS);
const body = fc.constantFrom(...BODIES);
const version = fc.constantFrom("HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "");

const request = fc
  .tuple(method, target, version, fc.array(header, { maxLength: 6 }), body)
  .map(([verb, path, protocol, headers, text]) => {
    const head = [`${verb} ${path} ${protocol}`, "Host: x", ...headers].join("\r\n");
    return `${head}\r\n\r\n${text}`;
  });

const wellFormed = fc.constantFrom(
  "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
  "GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n",
  "CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
  "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
  `POST /chat/${CHAT}/send HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer TOKEN\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n{"content":"fuzzed"}`,
);

const stream = fc
  .array(fc.oneof({ arbitrary: wellFormed, weight: 2 }, request), { minLength: 1, maxLength: 4 })
  .chain((requests) =>
    fc.record({
      text: fc.constant(requests.join("")),
      /** Complete, or cut at a fraction of its length. */
      cut: fc.oneof(fc.constant(1), fc.double({ min: 0, max: 1, noNaN: true })),
      repeat: fc.oneof({ arbitrary: fc.constant(1), weight: 8 }, fc.constantFrom(10, 100)),
      flips: fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { maxLength: 2 }),
      mutate: fc.boolean(),
    }),
  )
  .map(({ text, cut, repeat, flips, mutate }) => ({
    text,
    cut,
    repeat,
    flips: mutate ? flips : [],
  }));

const program = fc.record({
  stream,
  cuts: fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 3 }),
  slowly: fc.boolean(),
  reads: fc.boolean(),
  leave: fc.constantFrom<Leave>("reset", "reset", "close", "half-close", "wait"),
});

type Plan = typeof program extends fc.Arbitrary<infer Value> ? Value : never;

function compile({ stream, cuts, ...rest }: Plan): Program {
  const text = stream.text.replaceAll("TOKEN", token).repeat(stream.repeat).slice(0, 200_000);
  const bytes = Buffer.from(text, "latin1").subarray(0, Math.ceil(text.length * stream.cut));
  for (const [at, value] of stream.flips) if (bytes.length > 0) bytes[at % bytes.length] = value;
  const ends = [...cuts.map((cut) => Math.floor(bytes.length * cut)), bytes.length];
  let from = 0;
  const pieces = ends
    .toSorted((a, b) => a - b)
    .map((end) => {
      const piece = bytes.subarray(from, end);
      from = end;
      return piece;
    });
  return { ...rest, pieces };
}

/** Resolves when the connection is closed on this side. */
function run(url: string, { pieces, slowly, reads, leave }: Program): Promise<void> {
  return new Promise((resolve) => {
    const { hostname, port } = new URL(url);
    const socket = connect(Number(port), hostname);
    // The service may reset the connection at any time.
    socket.on("error", () => undefined);
    const patience = setTimeout(() => socket.destroy(), PATIENCE_MS * (leave === "wait" ? 2 : 1));
    socket.once("close", () => {
      clearTimeout(patience);
      resolve();
    });
    if (reads) socket.resume();
    else socket.pause();
    const quit = () => {
      if (leave === "reset") socket.resetAndDestroy();
      else if (leave === "close") socket.destroy();
      else if (leave === "half-close") socket.end();
    };
    const write = (index: number) => {
      const piece = pieces[index];
      if (piece === undefined) quit();
      else if (slowly) socket.write(piece, () => setImmediate(write, index + 1));
      else {
        socket.write(piece);
        write(index + 1);
      }
    };
    socket.once("connect", () => write(0));
  });
}

async function runAll(url: string, programs: readonly Program[]): Promise<void> {
  const queue = [...programs];
  const work = async () => {
    for (let next = queue.pop(); next !== undefined; next = queue.pop()) await run(url, next);
  };
  await Promise.all(Array.from({ length: CONCURRENT }, work));
}

async function readState(): Promise<{ resident: number; files: number; inFlight: number }> {
  const metrics = await (await fetch(`${adminUrl}/metrics`)).text();
  return {
    resident: readGauge(metrics, "process_resident_memory_bytes"),
    files: readGauge(metrics, "process_open_fds"),
    inFlight: readGauge(metrics, "bff_in_flight"),
  };
}

test("thousands of hostile connections leave the process, its memory and its sockets as they were", async () => {
  const programs = fc
    .sample(program, { seed, numRuns: PUBLIC_CONNECTIONS + ADMIN_CONNECTIONS })
    .map(compile);
  expect((await sendMessage(bff.url, "before")).status).toBe(201);
  // Resources that are opened once and kept are no leak.
  await readState();
  const before = await readState();
  try {
    await Promise.all([
      runAll(bff.url, programs.slice(0, PUBLIC_CONNECTIONS)),
      runAll(adminUrl, programs.slice(PUBLIC_CONNECTIONS)),
    ]);
    const settled = async () => {
      const { files, inFlight } = await readState();
      return inFlight === 0 && files <= before.files + FILES_SLACK;
    };
    await expect.poll(settled, { timeout: 15_000 }).toBe(true);
    const { resident } = await readState();
    expect(resident - before.resident).toBeLessThan(GROWTH_MAX);
    expect((await fetch(`${adminUrl}/healthz`)).status).toBe(200);
    // In another chat: the last fuzzed message may still be in progress.
    emulator.addChat({ chatId: "after", workspaceId: 42 });
    const after = await sendMessage(bff.url, "after", { chatId: "after" });
    expect(after.status).toBe(201);
    const lines = bff.log().filter(({ msg }) => msg === "defect" || msg === "runtime warning");
    expect(lines).toEqual([]);
    bff.signal("SIGTERM");
    expect(await bff.exited()).toBe(0);
  } catch (error) {
    throw new Error(`failed with FUZZ_SEED=${seed}`, { cause: error });
  }
}, 90_000);
