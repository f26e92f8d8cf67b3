import { once } from "node:events";
import { createServer, type Server } from "node:net";

import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { SLOW_ADDRESS, type SlowPort, startSlowPort } from "../../../test/support/slow-port.ts";
import { connectTcp } from "./connect-tcp.ts";

/** The addresses that the resolver returns for any name. */
let found: readonly string[];
vi.mock("node:dns", () => ({
  lookup: (
    _name: string,
    _options: object,
    done: (error: Error | null, addresses: readonly object[]) => void,
  ) => {
    const addresses = found.map((address) => ({ address, family: address.includes(":") ? 6 : 4 }));
    const error = Object.assign(new Error("unknown"), { code: "ENOTFOUND" });
    process.nextTick(done, found.length === 0 ? error : null, addresses);
  },
}));

let server: Server;
let serverPort: number;
let slow: SlowPort | undefined;

beforeEach(async () => {
  found = [];
  server = createServer((socket) => socket.on("error", () => undefined));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  serverPort = address !== null && typeof address === "object" ? address.port : 0;
});
afterEach(() => {
  server.close();
  slow?.close();
  slow = undefined;
});

async function connectTo(port: number, timeoutMs: number): Promise<string | undefined> {
  const socket = await connectTcp({ host: "name.test", port }, timeoutMs);
  const { remoteAddress } = socket;
  socket.destroy();
  return remoteAddress;
}

test("a slow first address is waited for, although the last one refuses at once", async () => {
  slow = await startSlowPort(serverPort);
  found = [SLOW_ADDRESS, "127.0.0.1"];
  const connected = connectTo(slow.port, 20_000);
  // Longer than Node gives an address by itself.
  setTimeout(slow.open, 600);
  expect(await connected).toBe(SLOW_ADDRESS);
});

test("an address that is not heard of holds up the others no longer than a moment", async () => {
  slow = await startSlowPort(serverPort);
  // The slow port is the first address's alone: the second one gets a listener of its own there.
  const second = createServer();
  second.listen(slow.port, "127.0.0.1");
  await once(second, "listening");
  try {
    found = [SLOW_ADDRESS, "127.0.0.1"];
    const startedMs = performance.now();
    expect(await connectTo(slow.port, 20_000)).toBe("127.0.0.1");
    expect(performance.now() - startedMs).toBeLessThan(5_000);
  } finally {
    second.close();
  }
});

test("addresses that are not heard of are given up together when the time is over", async () => {
  slow = await startSlowPort(serverPort);
  found = [SLOW_ADDRESS, SLOW_ADDRESS, SLOW_ADDRESS];
  const startedMs = performance.now();
  await expect(connectTo(slow.port, 1_000)).rejects.toMatchObject({ code: "ETIMEDOUT" });
  expect(performance.now() - startedMs).toBeGreaterThan(990);
});

test("an address that refuses gives way to the next at once", async () => {
  found = ["127.0.0.2", "127.0.0.3", "127.0.0.1"];
  expect(await connectTo(serverPort, 20_000)).toBe("127.0.0.1");
});

test("where all refuse the refusal is told at once", async () => {
  found = ["127.0.0.2", "127.0.0.3"];
  await expect(connectTo(serverPort, 20_000)).rejects.toMatchObject({ code: "ECONNREFUSED" });
});

test("a name that is not known is told as the resolver tells it", async () => {
  await expect(connectTo(serverPort, 20_000)).rejects.toMatchObject({ code: "ENOTFOUND" });
});

test("an address needs no resolver", async () => {
  const socket = await connectTcp({ host: "127.0.0.1", port: serverPort }, 20_000);
  expect(socket.remoteAddress).toBe("127.0.0.1");
  socket.destroy();
});
