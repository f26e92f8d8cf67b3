/**
 * Limits of the listener that a real client reaches only after a long time, with smaller numbers.
 */
import { once } from "node:events";
import { connect, type Socket } from "node:net";

import { expect, onTestFinished, test } from "vitest";

import { createLoadGate } from "../../load-gate.ts";
import type { CutReason } from "../../metrics.ts";
import { noMetrics } from "../../metrics.ts";
import type { ConnectionLimits } from "./connections.ts";
import { startNodeServer } from "./server.ts";

/** More than the buffers of the system hold for a client that reads nothing. */
const LARGE = "a".repeat(30_000_000);
const REQUEST = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

interface TestServer {
  readonly port: number;
  readonly cut: readonly CutReason[];
}

/** A listener that answers each request with 30 MB. */
async function startServer(limits: Partial<ConnectionLimits>): Promise<TestServer> {
  const cut: CutReason[] = [];
  const server = await startNodeServer(() => new Response(LARGE), createLoadGate(1), {
    host: "127.0.0.1",
    port: 0,
    commonHeaders: {},
    connections: { max: 100, perAddressMax: undefined, keepAliveMs: 60_000, ...limits },
    log: { log: () => undefined },
    metrics: { ...noMetrics, countCutConnection: (reason) => void cut.push(reason) },
  });
  onTestFinished(() => server.close());
  return { port: server.port, cut };
}

interface TestClient {
  readonly socket: Socket;
  /** Bytes that were read. */
  readonly size: () => number;
  readonly closed: () => boolean;
}

/** Sends one request and does not read the answer yet. */
async function ask(port: number, localAddress = "127.0.0.1"): Promise<TestClient> {
  const socket = connect({ port, host: "127.0.0.1", localAddress });
  socket.on("error", () => undefined);
  socket.pause();
  let size = 0;
  let closed = false;
  socket.on("close", () => {
    closed = true;
  });
  await once(socket, "connect");
  socket.write(REQUEST);
  socket.on("data", (bytes) => {
    size += bytes.length;
  });
  socket.pause();
  onTestFinished(() => void socket.destroy());
  return { socket, size: () => size, closed: () => closed };
}

test("a client that takes nothing of its answer for the time that is allowed is cut", async () => {
  const { port, cut } = await startServer({ stalledMs: 100 });
  const { socket, size, closed } = await ask(port);
  await expect.poll(() => cut).toEqual(["unread_answers"]);
  socket.resume();
  await expect.poll(closed).toBe(true);
  expect(size()).toBeLessThan(LARGE.length);
});

test("a client that takes a little now and then gets all of it, and may go on", async () => {
  const { port, cut } = await startServer({ stalledMs: 1_000 });
  const { socket, size } = await ask(port);
  // Longer in all than the time that is allowed, with no pause as long as it.
  const reading = setInterval(() => {
    socket.resume();
    setTimeout(() => {
      if (size() <= LARGE.length) socket.pause();
    }, 2);
  }, 100);
  await expect.poll(size, { timeout: 25_000 }).toBeGreaterThan(LARGE.length);
  clearInterval(reading);
  const afterFirst = size();
  socket.resume();
  socket.write(REQUEST);
  await expect.poll(size).toBeGreaterThan(afterFirst + LARGE.length);
  expect(cut).toEqual([]);
});

test("past the bytes that may wait for all clients, the one that has waited longest is cut", async () => {
  const { port, cut } = await startServer({ unsentBytesMax: LARGE.length * 2.5 });
  const clients: TestClient[] = [];
  for (let count = 0; count < 5; count += 1) {
    clients.push(await ask(port));
    await expect.poll(() => cut.length).toBe(Math.max(0, count - 1));
  }
  expect(new Set(cut)).toEqual(new Set(["unread_answers"]));
  for (const { socket } of clients) socket.resume();
  await expect.poll(() => clients.filter(({ closed }) => closed()).length).toBe(3);
  expect(clients.map(({ closed }) => closed())).toEqual([true, true, true, false, false]);
  const read = () => clients.slice(3).every(({ size }) => size() > LARGE.length);
  await expect.poll(read).toBe(true);
});

test("of the clients that wait, the address that holds most is cut first, not the oldest", async () => {
  const limits = { unsentBytesMax: LARGE.length * 3.5, perAddressMax: 100 };
  const { port, cut } = await startServer(limits);
  const honest = await ask(port);
  const greedy: TestClient[] = [];
  for (let count = 0; count < 4; count += 1) greedy.push(await ask(port, "127.0.0.66"));
  await expect.poll(() => cut.length).toBe(2);
  for (const { socket } of [honest, ...greedy]) socket.resume();
  await expect.poll(honest.size).toBeGreaterThan(LARGE.length);
  expect([honest, ...greedy].map(({ closed }) => closed())).toEqual([
    false,
    true,
    true,
    false,
    false,
  ]);
});

test("an answer that is larger than what may wait is sent all the same", async () => {
  const { port, cut } = await startServer({ unsentBytesMax: 1_000 });
  const { socket, size } = await ask(port);
  socket.resume();
  await expect.poll(size).toBeGreaterThan(LARGE.length);
  expect(cut).toEqual([]);
});
