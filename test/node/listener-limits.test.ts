/** Bounds on what one client can use of the Node listener: memory, connections and time. */
import { once } from "node:events";
import { request as httpRequest } from "node:http";
import { connect, type Socket } from "node:net";

import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from "vitest";

import type { RunningEmulator } from "../../src/emulator/listen.ts";
import { readGauge } from "../soak/memory.ts";
import {
  CHAT,
  renderSend,
  sendMessage,
  startTestBff,
  startTestEmulator,
} from "../support/bff-fixture.ts";
import type { BffProcess } from "../support/bff-process.ts";
import { openRaw } from "../support/raw-http.ts";

const MEBIBYTE = 1_048_576;
const UNLIMITED = { LIMIT_SESSION: "off", LIMIT_IP: "off", LIMIT_WORKSPACE: "off" };
const HEALTH = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";

let emulator: RunningEmulator;

beforeAll(async () => {
  emulator = await startTestEmulator();
});
beforeEach(() => emulator.reset());
afterAll(() => emulator.close());

interface Watched extends BffProcess {
  readonly adminUrl: string;
}

/** Stopped after the test, also if the test fails. */
async function startForTest(more: Record<string, string> = {}): Promise<Watched> {
  const bff = await startTestBff(emulator.url, { ADMIN_PORT: "0", ...more });
  onTestFinished(async () => {
    await bff.stop();
  });
  const { adminPort } = await bff.waitForLine(({ msg }) => msg === "listening");
  return { ...bff, adminUrl: `http://127.0.0.1:${String(adminPort)}` };
}

async function readMetric({ adminUrl }: Watched, name: string): Promise<number> {
  return readGauge(await (await fetch(`${adminUrl}/metrics`)).text(), name);
}

function countCut(bff: Watched, reason: string): Promise<number> {
  return readMetric(bff, `bff_connections_cut_total{reason="${reason}"}`);
}

/** Opens a connection that never reads its answers. */
async function openUnreading(url: string): Promise<Socket> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  socket.on("error", () => undefined);
  socket.pause();
  onTestFinished(() => void socket.destroy());
  await once(socket, "connect");
  return socket;
}

/**
 * Statuses of the answers on a connection. Bodies do not end in a line break: a status line follows
 * directly.
 */
function readStatuses(text: string): string[] {
  return [...text.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => status ?? "");
}

/** The highest resident memory of the service while it handles the requests, in bytes. */
async function measurePeak(bff: Watched, settled: () => Promise<boolean>): Promise<number> {
  let highest = 0;
  await expect
    .poll(async () => {
      highest = Math.max(highest, await readMetric(bff, "process_resident_memory_bytes"));
      return settled();
    })
    .toBe(true);
  return highest;
}

function openHeld(url: string, count: number): Promise<Socket[]> {
  return Promise.all(Array.from({ length: count }, () => openUnreading(url)));
}

/** The answer on a new connection; undefined if the connection is closed. */
async function tryHealth(url: string): Promise<string | undefined> {
  const connection = await openRaw(url);
  connection.write(HEALTH.replace("Host: x", "Host: x\r\nConnection: close"));
  const text = await connection.ended();
  return text === "" ? undefined : text.slice(0, 12);
}

describe("a request to be a tunnel", () => {
  const CONNECT = "CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n";
  const ways: Record<string, (socket: Socket) => void> = {
    "a reset": (socket) => void socket.resetAndDestroy(),
    "a close": (socket) => void socket.destroy(),
    "a late close": (socket) => void setTimeout(() => socket.destroy(), 20),
    "a half-close": (socket) => void socket.end(),
    "more data and a reset": (socket) =>
      void socket.write("x".repeat(100_000), () => socket.resetAndDestroy()),
  };

  test.each(Object.entries(ways))("and %s leave the process as it was", async (_name, leave) => {
    const bff = await startForTest();
    for (const url of [bff.url, bff.adminUrl]) {
      for (let count = 0; count < 50; count += 1) {
        const socket = await openUnreading(url);
        // Checked before and after the answer is written.
        socket.write(CONNECT);
        if (count % 2 === 0) await once(socket.resume(), "data");
        leave(socket);
        socket.resume();
        if (!socket.closed) await once(socket, "close");
      }
      expect((await fetch(`${url}/healthz`)).status).toBe(200);
    }
    expect(bff.log().filter(({ msg }) => msg === "defect")).toEqual([]);
  });

  test("is ended although its client keeps it, and does not hold up the end of the process", async () => {
    const bff = await startForTest();
    const before = await readMetric(bff, "process_open_fds");
    const sockets = await Promise.all(Array.from({ length: 20 }, () => openUnreading(bff.url)));
    for (const socket of sockets) socket.write(CONNECT);
    const settled = async () => (await readMetric(bff, "process_open_fds")) <= before + 2;
    await expect.poll(settled).toBe(true);
    const [late] = [await openUnreading(bff.url)];
    late.write(CONNECT);
    bff.signal("SIGTERM");
    expect(await bff.exited()).toBe(0);
  });

  test("behind other requests ends their connection once they are answered", async () => {
    const bff = await startForTest();
    emulator.addFault({ delayMs: 300 }, { operation: "completion" });
    const connection = await openRaw(bff.url);
    connection.write(`${await renderSend("before-tunnel")}${HEALTH}${CONNECT}`);
    const text = await connection.ended();
    expect(readStatuses(text)).toEqual(["201", "200"]);
    bff.signal("SIGTERM");
    expect(await bff.exited()).toBe(0);
  });
});

test("a request to change the protocol is answered as if it asked for none, and ends its connection", async () => {
  const bff = await startForTest();
  for (const url of [bff.url, bff.adminUrl]) {
    for (const protocol of ["websocket", "h2c", "TLS/1.0"]) {
      const connection = await openRaw(url);
      connection.write(
        `GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: ${protocol}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n`,
      );
      expect(readStatuses(await connection.ended())).toEqual(["200"]);
    }
  }
  const connection = await openRaw(bff.url);
  const send = await renderSend("upgraded");
  connection.write(send.replace("Host: x", "Host: x\r\nConnection: Upgrade\r\nUpgrade: websocket"));
  expect(await connection.received('"messages"')).toMatch(/^HTTP\/1\.1 201 /);
  connection.destroy();
});

test("what follows a request to change the protocol is not taken apart into requests of its own", async () => {
  const bff = await startForTest();
  const connection = await openRaw(bff.url);
  const hidden = "GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n";
  connection.write(
    "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n" +
      `POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: ${hidden.length}\r\n\r\n`,
  );
  await connection.received('{"status":"ok"}');
  connection.write(hidden);
  expect(readStatuses(await connection.ended())).toEqual(["200"]);
});

test("a request that was answered before its body gets no second answer for a broken body", async () => {
  const bff = await startForTest();
  const connection = await openRaw(bff.url);
  connection.write(
    "POST /chat/c1/send HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
  );
  await connection.received("session_missing");
  connection.write("ZZ\r\n");
  expect(readStatuses(await connection.ended())).toEqual(["401"]);
});

test("requests sent ahead of a slow answer wait with their sender, not in memory", async () => {
  const bff = await startForTest(UNLIMITED);
  const CONNECTIONS = 100;
  const chats = Array.from({ length: CONNECTIONS }, (_, index) => `ahead-${index}`);
  for (const chatId of chats) emulator.addChat({ chatId, workspaceId: 42 });
  emulator.addFault({ kind: "taken-then-delay", delayMs: 1_000 }, { times: CONNECTIONS });
  const send = await renderSend("slow");
  const padded = HEALTH.replace("Host: x", `Host: x\r\nX-Pad: ${"p".repeat(30_000)}`);
  // Read early, so many requests would end their connection.
  const AHEAD = 128;
  const last = HEALTH.replace("Host: x", "Host: x\r\nConnection: close");
  const ahead = padded.repeat(AHEAD) + last;
  const connections = await Promise.all(chats.map(() => openRaw(bff.url)));
  for (const [index, connection] of connections.entries()) {
    connection.write(send.replace(`/chat/${CHAT}/`, `/chat/ahead-${index}/`) + ahead);
  }
  const inOrder = ["201", ...Array.from({ length: AHEAD + 1 }, () => "200")];
  for (const connection of connections) {
    expect(readStatuses(await connection.ended())).toEqual(inOrder);
  }
  expect(await countCut(bff, "pipelined_requests")).toBe(0);
});

describe("answers that the client does not read", () => {
  test("65 KB of requests on each of 200 connections hold no more memory than a few answers", async () => {
    const bff = await startForTest();
    await readMetric(bff, "process_resident_memory_bytes");
    const before = await readMetric(bff, "process_resident_memory_bytes");
    const request = "GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n";
    const requests = request.repeat(Math.floor(65_536 / request.length));
    const sockets = await Promise.all(Array.from({ length: 200 }, () => openUnreading(bff.url)));
    for (const socket of sockets) socket.write(requests);
    const settled = async () => (await countCut(bff, "pipelined_requests")) === sockets.length;
    const peak = await measurePeak(bff, settled);
    // Without a limit, the answers take 540 MiB.
    expect(peak - before).toBeLessThan(250 * MEBIBYTE);
    expect((await sendMessage(bff.url, "after")).status).toBe(201);
    const told = bff.log().filter(({ reason }) => reason === "pipelined_requests");
    expect(told).toEqual([expect.objectContaining({ level: "warn", count: 1 })]);
  });

  test("answers of 1 MB, one after the other on 100 connections, are bounded in all", async () => {
    const stored = { LIMIT_REPLAYS: "off", STORED_ANSWER_BYTES: "2MiB" };
    const bff = await startForTest({ ...UNLIMITED, ...stored });
    const large = JSON.stringify({
      messages: [{ role: "assistant", content: "a".repeat(1_000_000) }],
    });
    emulator.addFault({ kind: "body", body: large }, { operation: "completion" });
    const request = await renderSend("large");
    const first = await openRaw(bff.url);
    first.write(request);
    await first.received('aaaa"');
    first.destroy();
    const before = await readMetric(bff, "process_resident_memory_bytes");
    const sockets = await Promise.all(Array.from({ length: 100 }, () => openUnreading(bff.url)));
    for (const socket of sockets) socket.write(request.repeat(16));
    // Each connection moves several answers into the system's buffers. Then one answer per
    // connection waits, 32 in all.
    const settled = async () => (await countCut(bff, "unread_answers")) >= 60;
    const peak = await measurePeak(bff, settled);
    // 1,600 MB of answers were asked for.
    expect(peak - before).toBeLessThan(500 * MEBIBYTE);
    expect((await sendMessage(bff.url, "after")).status).toBe(201);
  });
});

describe("requests sent ahead", () => {
  test("are answered in their order, one at a time", async () => {
    const bff = await startForTest();
    emulator.addFault({ delayMs: 200 }, { operation: "completion" });
    const connection = await openRaw(bff.url);
    connection.write(
      `${await renderSend("one")}${await renderSend("two")}${HEALTH}GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`,
    );
    // In one chat, the second message would be `chat_busy` while the first is in progress.
    const text = await connection.ended();
    expect(readStatuses(text)).toEqual(["201", "201", "200", "404"]);
    expect(emulator.messages().map(({ content }) => content)).toEqual(["one", "two"]);
  });

  test("are not begun once their connection is told to end", async () => {
    const bff = await startForTest();
    emulator.addFault({ delayMs: 2_000 }, { operation: "completion" });
    const connection = await openRaw(bff.url);
    connection.write(`${await renderSend("last")}${await renderSend("never")}`);
    await expect.poll(() => emulator.messages().length).toBe(1);
    bff.signal("SIGTERM");
    const text = await connection.ended();
    expect(readStatuses(text)).toEqual(["201"]);
    expect(text).toMatch(/^connection: close\r$/im);
    expect(await bff.exited()).toBe(0);
    expect(emulator.messages().map(({ content }) => content)).toEqual(["last"]);
  });

  test("in any number are served where the client waits for room", async () => {
    const bff = await startForTest();
    const connection = await openRaw(bff.url);
    const padded = HEALTH.replace("Host: x", `Host: x\r\nX-Padding: ${"a".repeat(8_000)}`);
    for (let count = 0; count < 100; count += 1) connection.write(padded);
    connection.write(HEALTH.replace("Host: x", "Host: x\r\nConnection: close"));
    const text = await connection.ended();
    expect(readStatuses(text)).toEqual(Array.from({ length: 101 }, () => "200"));
  });

  test("that are broken, in pieces, while an answer is awaited, neither warn nor answer in its place", async () => {
    const bff = await startForTest();
    emulator.addFault({ delayMs: 500 }, { operation: "completion" });
    const connection = await openRaw(bff.url);
    connection.write(`${await renderSend("whole")}no HTTP\r\n\r\n`);
    await expect.poll(() => emulator.messages().length).toBe(1);
    for (let piece = 0; piece < 30; piece += 1) {
      connection.write("more of it\r\n\r\n");
      await fetch(`${bff.url}/healthz`);
    }
    const text = await connection.ended();
    expect(readStatuses(text)).toEqual(["201"]);
    expect(bff.log().filter(({ msg }) => msg === "runtime warning")).toEqual([]);
  });
});

describe("connections", () => {
  test.each([
    ["MAX_CONNECTIONS_PER_ADDRESS", "connections_per_address"],
    ["MAX_CONNECTIONS", "connections"],
  ])("past %s are closed at once, and others take their place", async (variable, reason) => {
    const bff = await startForTest({ [variable]: "10" });
    const held = await openHeld(bff.url, 10);
    expect(await tryHealth(bff.url)).toBeUndefined();
    expect(await countCut(bff, reason)).toBe(1);
    expect(bff.log().filter((line) => line["reason"] === reason)).toEqual([
      expect.objectContaining({ level: "warn", msg: "connections ended without an answer" }),
    ]);
    for (const socket of held) socket.destroy();
    await expect.poll(() => tryHealth(bff.url)).toBe("HTTP/1.1 200");
  });

  test("behind a proxy are not counted by address", async () => {
    const bff = await startForTest({ TRUST_PROXY: "1" });
    await openHeld(bff.url, 300);
    expect(await tryHealth(bff.url)).toBe("HTTP/1.1 200");
    expect(await countCut(bff, "connections_per_address")).toBe(0);
  });

  test("that are idle end after KEEP_ALIVE_TIMEOUT, which the answer tells", async () => {
    const bff = await startForTest({ KEEP_ALIVE_TIMEOUT: "1s" });
    const connection = await openRaw(bff.url);
    connection.write(HEALTH);
    expect(await connection.ended()).toMatch(/^keep-alive: timeout=1\r$/im);
    const standard = await startForTest();
    const kept = await openRaw(standard.url);
    kept.write(HEALTH);
    expect(await kept.received('"ok"')).toMatch(/^keep-alive: timeout=75\r$/im);
    kept.destroy();
  });

  test("end where the body of an answered request goes on, and the answer arrives", async () => {
    const bff = await startForTest();
    for (const method of ["GET", "POST"]) {
      const { port } = new URL(bff.url);
      const request = httpRequest({
        port,
        method,
        path: "/nowhere",
        headers: { "Content-Length": 50_000_000 },
      });
      request.on("error", () => undefined);
      request.write("a".repeat(1_000));
      const [response] = (await once(request, "response")) as [{ statusCode: number }];
      expect(response.statusCode).toBe(404);
      // It sends a few bytes now and then, and never the rest.
      const dribble = setInterval(() => request.write("a"), 50);
      await once(request, "close");
      clearInterval(dribble);
    }
  });

  test("take part in a conversation again after a body that was not read", async () => {
    const bff = await startForTest();
    const connection = await openRaw(bff.url);
    for (let count = 0; count < 30; count += 1) {
      const body = "a".repeat(20_000);
      connection.write(
        `POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\n\r\n`,
      );
      connection.write(body);
    }
    connection.write(HEALTH.replace("Host: x", "Host: x\r\nConnection: close"));
    const text = await connection.ended();
    expect(readStatuses(text)).toEqual([...Array.from({ length: 30 }, () => "404"), "200"]);
    expect(bff.log().filter(({ msg }) => msg === "runtime warning")).toEqual([]);
  });
});
