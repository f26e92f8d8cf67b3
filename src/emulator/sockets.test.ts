// Tests that need a real socket: resets, delays longer than the client waits, answers in pieces,
// clients that leave, and the end of the emulator.
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { text } from "node:stream/consumers";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { type RunningEmulator, startEmulator } from "./listen.ts";

/** The global classes before any emulator has started. */
const GLOBALS = [Request, Response];

let emulator: RunningEmulator;
beforeEach(async () => {
  emulator = await startEmulator({
    tokens: { alpha: [42] },
    chats: [{ chatId: "c1", workspaceId: 42 }],
  });
});
afterEach(async () => {
  await emulator.close();
});

/** Longer than a test may take, in milliseconds: something else must end a wait of this length. */
const FOREVER_MS = 120_000;
const PATH = "/api/chats/c1/completions";

const send = async (content: string, signal?: AbortSignal) =>
  fetch(emulator.url + PATH, {
    method: "POST",
    headers: { authorization: "Bearer alpha", "content-type": "application/json" },
    body: JSON.stringify({ workspaceId: 42, content }),
    redirect: "manual",
    ...(signal && { signal }),
  });
const count = () => {
  const messages = emulator.messages();
  const sum = (key: "arrived" | "taken") => messages.reduce((all, m) => all + m[key], 0);
  return { arrived: sum("arrived"), taken: sum("taken") };
};
const arrived = async (times: number) =>
  vi.waitFor(() => {
    expect(count().arrived).toBe(times);
  });

/** A client that can send what `fetch` cannot. */
async function open(lines: readonly string[], body = ""): Promise<Socket> {
  const socket = connect(emulator.port, "127.0.0.1");
  socket.on("error", () => undefined);
  await once(socket, "connect");
  socket.write(`${lines.join("\r\n")}\r\n\r\n${body}`);
  return socket;
}
const HEAD = [
  `POST ${PATH} HTTP/1.1`,
  "host: localhost",
  "authorization: Bearer alpha",
  "content-type: application/json",
];
const BODY = '{"workspaceId":42,"content":"x"}';

/** Asserts after each test that the emulator still works. */
async function expectAlive() {
  emulator.clearFaults();
  const before = count().taken;
  expect((await send("still there?")).status).toBe(201);
  expect(count().taken).toBe(before + 1);
}

test.each([
  ["reset-before", 0],
  ["reset-after", 1],
] as const)("%s: the client sees a reset, no answer, and taken = %i", async (kind, taken) => {
  emulator.addFault({ kind });
  emulator.addFault({ kind });
  await expect(send("x")).rejects.toMatchObject({ cause: { code: "ECONNRESET" } });
  expect(count()).toEqual({ arrived: 1, taken });

  const socket = await open([...HEAD, `content-length: ${BODY.length}`], BODY);
  const seen: unknown[] = [];
  socket.on("data", (data) => seen.push(data));
  socket.on("end", () => seen.push("a polite end"));
  const [error] = (await once(socket, "error")) as [unknown];
  expect(error).toMatchObject({ code: "ECONNRESET" });
  expect(seen).toEqual([]);
  expect(count()).toEqual({ arrived: 2, taken: 2 * taken });
  await expectAlive();
});

test("delay: the message is taken at its end, so a later one without delay overtakes it", async () => {
  emulator.addFault({ delayMs: 200 });
  const order: string[] = [];
  const slow = send("slow").then(() => order.push("slow"));
  await arrived(1);
  await send("fast").then(() => order.push("fast"));
  await slow;
  expect(order).toEqual(["fast", "slow"]);
  const chat = await fetch(`${emulator.url}/api/chats/c1?workspaceId=42`, {
    headers: { authorization: "Bearer alpha" },
  });
  const { messages } = (await chat.json()) as { messages: { role: string; content: string }[] };
  const said = messages.filter(({ role }) => role === "user").map(({ content }) => content);
  expect(said).toEqual(["fast", "slow"]);
});

test("delay: the message is taken even though the client has left", async () => {
  emulator.addFault({ delayMs: 50 });
  const client = new AbortController();
  const answer = send("x", client.signal);
  await arrived(1);
  client.abort();
  await expect(answer).rejects.toMatchObject({ name: "AbortError" });
  await vi.waitFor(() => {
    expect(count()).toEqual({ arrived: 1, taken: 1 });
  });
  await expectAlive();
});

test.each([
  ["a plain delay", {}, 0],
  ["taken-then-delay", { kind: "taken-then-delay" }, 1],
] as const)("%s: until its end there is no answer, and close ends it", async (_, fault, taken) => {
  emulator.addFault({ ...fault, delayMs: FOREVER_MS });
  let answered = false;
  const answer = send("x").then(() => (answered = true));
  answer.catch(() => undefined);
  await arrived(1);
  expect(answered).toBe(false);
  await emulator.close();
  await expect(answer).rejects.toThrow("fetch failed");
  expect(count()).toEqual({ arrived: 1, taken });
});

test("taken-then-delay: the answer comes in the end", async () => {
  emulator.addFault({ kind: "taken-then-delay", delayMs: 5 });
  const response = await send("x");
  expect(response.status).toBe(201);
  expect(await response.json()).toMatchObject({ messages: [{ content: "You said: x" }] });
  expect(count()).toEqual({ arrived: 1, taken: 1 });
});

test("reset cuts off what waits: it is not taken later", async () => {
  emulator.addFault({ delayMs: FOREVER_MS });
  const answer = send("x");
  answer.catch(() => undefined);
  await arrived(1);
  emulator.reset();
  await expect(answer).rejects.toMatchObject({ cause: { code: "ECONNRESET" } });
  expect(emulator.messages()).toEqual([]);
  await expectAlive();
});

test("drip: the headers come at once, and a client that leaves ends it", async () => {
  emulator.addFault({ kind: "drip", everyMs: FOREVER_MS });
  const response = await send("x");
  expect(response.status).toBe(201);
  expect(response.headers.get("content-type")).toBe("application/json");
  expect(count()).toEqual({ arrived: 1, taken: 1 });
  await response.body?.cancel();
  await expectAlive();
});

test("drip: the whole is the normal answer", async () => {
  emulator.addFault({ kind: "drip", everyMs: 0 });
  expect(await (await send("x")).json()).toMatchObject({ messages: [{ content: "You said: x" }] });
});

test.each(["huge", "gzip"] as const)(
  "%s: a client that leaves half-way harms nothing",
  async (kind) => {
    emulator.addFault({ kind, bytes: 2 ** 30 });
    const response = await send("x");
    expect(response.status).toBe(201);
    const reader = response.body?.getReader();
    for (let i = 0; i < 3; i += 1) expect((await reader?.read())?.done).toBe(false);
    await reader?.cancel();
    expect(count()).toEqual({ arrived: 1, taken: 1 });
    await expectAlive();
  },
);

test("huge and gzip: are whole for a client that stays", async () => {
  emulator.addFault({ kind: "huge" });
  emulator.addFault({ kind: "gzip", bytes: 3_000_000 });
  emulator.addFault({ kind: "gzip" });
  expect(await (await send("x")).text()).toHaveLength(2 * 1024 * 1024);
  expect(await (await send("x")).text()).toHaveLength(3_000_000);
  expect(await (await send("x")).json()).toEqual({
    messages: [{ role: "assistant", content: "You said: x" }],
  });
});

test.each([100, 101, 102, 103, 199])(
  "status %i: is sent as it is, nothing follows, and nothing is taken",
  async (status) => {
    emulator.addFault({ kind: "status", status, headers: { "x-more": "1" } });
    const socket = await open([...HEAD, `content-length: ${BODY.length}`], BODY);
    const answer = await text(socket);
    expect(answer).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    expect(answer).toContain("x-more: 1\r\n");
    expect(answer.split("\r\n\r\n")[1]).toBe("");
    expect(count()).toEqual({ arrived: 1, taken: 0 });
    await expectAlive();
  },
);

test("redirect and status: reach the client as they are", async () => {
  emulator.addFault({ kind: "redirect" });
  emulator.addFault({ kind: "status", status: 599, retryAfter: "3", body: "no" });
  const redirect = await send("x");
  expect(redirect.status).toBe(302);
  expect(redirect.headers.get("location")).toBe("http://127.0.0.1:9/");
  const status = await send("x");
  expect([status.status, status.headers.get("retry-after"), await status.text()]).toEqual([
    599,
    "3",
    "no",
  ]);
  expect(count()).toEqual({ arrived: 2, taken: 0 });
});

test("a client that leaves in the middle of its message: recorded, not counted, no harm", async () => {
  const socket = await open([...HEAD, "content-length: 1000"], BODY);
  socket.destroy();
  await vi.waitFor(() => {
    expect(emulator.requests()).toMatchObject([{ path: PATH, body: "" }]);
  });
  expect(count()).toEqual({ arrived: 0, taken: 0 });
  await expectAlive();
});

test("a client that speaks no HTTP is answered by Node and harms nothing", async () => {
  const socket = await open(["hello?"]);
  expect(await text(socket)).toMatch(/^HTTP\/1.1 400 /);
  expect(emulator.requests()).toEqual([]);
  await expectAlive();
});

test("the record shows the request line and headers as they were sent", async () => {
  const lines = [
    "GET /api/chats/%63%2f..%2f/../x?a=%20&a HTTP/1.1",
    "host: localhost",
    "X-Twice: 1",
    "x-twice: 2",
    "connection: close",
  ];
  expect(await text(await open(lines))).toMatch(/^HTTP\/1.1 401 /);
  expect(emulator.requests()).toEqual([
    {
      method: "GET",
      path: "/api/chats/%63%2f..%2f/../x",
      query: "?a=%20&a",
      headers: { host: "localhost", "x-twice": "1, 2", connection: "close" },
      body: "",
    },
  ]);
});

test("a hundred delays at a time raise no warning", async () => {
  const warned = vi.fn<(warning: Error) => void>();
  process.on("warning", warned);
  emulator.addFault({ delayMs: 5 }, { times: 100 });
  await Promise.all(Array.from({ length: 100 }, async (_, i) => send(`m${i}`)));
  process.off("warning", warned);
  expect(count()).toEqual({ arrived: 100, taken: 100 });
  expect(warned).not.toHaveBeenCalled();
});

test("close ends idle, half-sent and half-answered connections at once, and can be repeated", async () => {
  emulator.addFault({ kind: "drip", everyMs: FOREVER_MS });
  const dripping = await send("x");
  const rest = dripping.text();
  rest.catch(() => undefined);
  const idle = connect(emulator.port, "127.0.0.1");
  idle.on("error", () => undefined);
  await once(idle, "connect");
  const half = await open([...HEAD, "content-length: 1000"], BODY);
  await Promise.all([emulator.close(), emulator.close()]);
  await vi.waitFor(() => {
    expect([idle.closed, half.closed]).toEqual([true, true]);
  });
  await expect(rest).rejects.toThrow("terminated");
  await expect(send("x")).rejects.toMatchObject({ cause: { code: "ECONNREFUSED" } });
});

test("a taken port is a rejection with EADDRINUSE", async () => {
  const second = startEmulator({ tokens: {}, port: emulator.port });
  await expect(second).rejects.toMatchObject({ code: "EADDRINUSE" });
  await expectAlive();
});

test("the process keeps its own Request and Response", () => {
  expect([Request, Response]).toEqual(GLOBALS);
});

test("with idleMs, a connection is closed so long after its last answer, without a word before", async () => {
  const impatient = await startEmulator({ tokens: {}, idleMs: 100 });
  try {
    const socket = connect(impatient.port, "127.0.0.1");
    const startedMs = performance.now();
    socket.write("GET /nothing HTTP/1.1\r\nhost: localhost\r\n\r\n");
    const answered = await text(socket);
    expect(performance.now() - startedMs).toBeGreaterThan(90);
    expect(answered).toMatch(/^HTTP\/1\.1 404 /);
    expect(answered).not.toMatch(/^keep-alive:/im);
  } finally {
    await impatient.close();
  }
});
