// Which request gets which fault, and the faults that can be tested without a socket. The others
// are in sockets.test.ts.
import { gunzipSync } from "node:zlib";
import { beforeEach, describe, expect, test } from "vitest";
import { createEmulator, type Emulator } from "./emulator.ts";
import { type Fault, faultSchema, parseFaultMessage } from "./faults.ts";

let emulator: Emulator;
beforeEach(() => {
  emulator = createEmulator({
    tokens: { alpha: [42] },
    chats: [
      { chatId: "c1", workspaceId: 42 },
      { chatId: "c2", workspaceId: 42 },
    ],
  });
});

const HEADERS = { authorization: "Bearer alpha", "content-type": "application/json" };
const post = (path: string, body: unknown) =>
  emulator.app.request(path, { method: "POST", headers: HEADERS, body: JSON.stringify(body) });
const send = async (content: string, chatId = "c1") =>
  post(`/api/chats/${chatId}/completions`, { workspaceId: 42, content });
const get = async (chatId = "c1") =>
  emulator.app.request(`/api/chats/${chatId}?workspaceId=42`, { headers: HEADERS });
const create = async () => post("/api/chats", { workspaceId: 42, agent_id: "a" });
const taken = (chatId = "c1") =>
  emulator.messages({ chatId }).reduce((sum, message) => sum + message.taken, 0);

const NORMAL = { messages: [{ role: "assistant", content: "You said: x" }] };
const BUSY: Fault = { kind: "status", status: 503 };

describe("not taken", () => {
  test("status: answers as told", async () => {
    emulator.addFault({
      kind: "status",
      status: 429,
      retryAfter: "7",
      body: "slow down",
      contentType: "text/plain",
      headers: { "X-More": "1" },
    });
    const response = await send("x");
    expect(response.status).toBe(429);
    expect(Object.fromEntries(response.headers)).toEqual({
      "content-type": "text/plain",
      "retry-after": "7",
      "x-more": "1",
    });
    expect(await response.text()).toBe("slow down");
    expect(taken()).toBe(0);
  });

  test("status: answers JSON by default, and nothing where HTTP allows no body", async () => {
    emulator.addFault(BUSY);
    expect(await (await send("x")).json()).toEqual({ error: "fault" });
    for (const status of [204, 205, 304]) {
      emulator.addFault({ kind: "status", status, body: "dropped" });
      const response = await send("x");
      expect(response.status).toBe(status);
      expect(await response.text()).toBe("");
    }
    expect(taken()).toBe(0);
  });

  test("redirect: answers 302", async () => {
    emulator.addFault({ kind: "redirect" });
    emulator.addFault({ kind: "redirect", location: "/elsewhere" });
    const first = await send("x");
    expect([first.status, first.headers.get("location")]).toEqual([302, "http://127.0.0.1:9/"]);
    expect((await send("x")).headers.get("location")).toBe("/elsewhere");
    expect(taken()).toBe(0);
  });

  test("closed: the chat has ended, and stays so", async () => {
    emulator.addFault({ kind: "closed" });
    expect((await send("x")).status).toBe(409);
    expect(await (await get()).json()).toMatchObject({ status: "ended" });
    expect((await send("x")).status).toBe(409);
    expect(taken()).toBe(0);
  });

  test("reset-before: without a socket, fetch itself fails", async () => {
    emulator.addFault({ kind: "reset-before" });
    await expect(send("x")).rejects.toMatchObject({ code: "ECONNRESET" });
    expect(taken()).toBe(0);
  });
});

describe("taken", () => {
  test("no kind: answers normally", async () => {
    emulator.addFault({ delayMs: 1 });
    expect(await (await send("x")).json()).toEqual(NORMAL);
    expect(taken()).toBe(1);
  });

  test("taken-then-status: answers as told", async () => {
    emulator.addFault({ kind: "taken-then-status", status: 500 });
    expect((await send("x")).status).toBe(500);
    expect(taken()).toBe(1);
  });

  test("reset-after: without a socket, fetch itself fails", async () => {
    emulator.addFault({ kind: "reset-after" });
    await expect(send("x")).rejects.toMatchObject({ code: "ECONNRESET" });
    expect(taken()).toBe(1);
  });

  test("garbage: answers 201, declared as JSON and none", async () => {
    emulator.addFault({ kind: "garbage" });
    const response = await send("x");
    expect([response.status, response.headers.get("content-type")]).toEqual([
      201,
      "application/json",
    ]);
    await expect(response.json()).rejects.toThrow(SyntaxError);
    expect(taken()).toBe(1);
  });

  test("body: answers it verbatim", async () => {
    emulator.addFault({ kind: "body", body: ' {"messages":null}' });
    emulator.addFault({
      kind: "body",
      body: "hm",
      status: 200,
      contentType: "text/html",
      headers: { "Content-Type": "text/xml" },
    });
    const first = await send("x");
    expect([first.status, await first.text()]).toEqual([201, ' {"messages":null}']);
    const second = await send("x");
    expect([second.status, second.headers.get("content-type")]).toEqual([200, "text/xml"]);
    expect(taken()).toBe(2);
  });

  test("huge: is a valid answer, of the size asked for", async () => {
    emulator.addFault({ kind: "huge" });
    emulator.addFault({ kind: "huge", bytes: 300_000 });
    emulator.addFault({ kind: "huge", bytes: 1 });
    const first = await (await send("x")).text();
    expect(first).toHaveLength(2 * 1024 * 1024);
    expect(JSON.parse(first)).toMatchObject(NORMAL);
    expect(await (await send("x")).text()).toHaveLength(300_000);
    expect(await (await send("x")).json()).toEqual({ padding: "", ...NORMAL });
    expect(taken()).toBe(3);
  });

  test("drip: is the normal answer in the end", async () => {
    emulator.addFault({ kind: "drip", everyMs: 0 });
    const response = await send("x");
    const chunks: Uint8Array[] = [];
    const collect = new WritableStream<Uint8Array>({ write: (chunk) => void chunks.push(chunk) });
    await response.body?.pipeTo(collect);
    expect(JSON.parse(Buffer.concat(chunks).toString())).toEqual(NORMAL);
    expect(chunks.filter((chunk) => chunk.length !== 1)).toEqual([]);
    expect(taken()).toBe(1);
  });

  test("gzip: is the normal answer, and a bomb if asked for", async () => {
    emulator.addFault({ kind: "gzip" });
    emulator.addFault({ kind: "gzip", bytes: 5_000_000 });
    const plain = await send("x");
    expect(plain.headers.get("content-encoding")).toBe("gzip");
    expect(JSON.parse(gunzipSync(await plain.arrayBuffer()).toString())).toEqual(NORMAL);
    const bomb = await (await send("x")).arrayBuffer();
    expect(bomb.byteLength).toBeLessThan(50_000);
    const text = gunzipSync(bomb).toString();
    expect(text).toHaveLength(5_000_000);
    expect(JSON.parse(text)).toMatchObject(NORMAL);
    expect(taken()).toBe(2);
  });

  test.each<Fault>([
    { kind: "taken-then-status", status: 500 },
    { kind: "reset-after" },
    { kind: "garbage" },
    { kind: "drip" },
  ])("what cannot be taken is refused instead: %j", async (fault) => {
    emulator.addFault(fault);
    expect((await send("x", "absent")).status).toBe(404);
    expect(taken("absent")).toBe(0);
  });
});

describe("the other operations", () => {
  test("are spoiled in their own form", async () => {
    emulator.addFault({ kind: "garbage" }, { operation: "get" });
    emulator.addFault({ kind: "huge", bytes: 100 }, { operation: "end" });
    const got = await get();
    expect([got.status, (await got.text())[0]]).toEqual([200, "<"]);
    const ended = await post("/api/chats/c1/end", { workspaceId: 42 });
    expect([ended.status, (await ended.text()).length]).toEqual([200, 100]);
    expect(await (await get()).json()).toMatchObject({ status: "ended" });
  });

  test("have their effect or not, like a message", async () => {
    emulator.addFault(BUSY);
    emulator.addFault({ kind: "taken-then-status", status: 500 });
    expect([(await create()).status, (await create()).status]).toEqual([503, 500]);
    expect(await (await create()).json()).toMatchObject({ chatId: "chat_000000000002" });
  });
});

describe("which request is struck", () => {
  test("the faults go in order, each as many times as asked for", async () => {
    emulator.addFault(BUSY, { times: 2 });
    emulator.addFault({ kind: "status", status: 500 });
    const statuses: number[] = [];
    for (let i = 0; i < 4; i += 1) statuses.push((await send("x")).status);
    expect(statuses).toEqual([503, 503, 500, 201]);
    expect(taken()).toBe(1);
  });

  test("a fault waits for its operation and its chat", async () => {
    emulator.addFault(BUSY, { operation: "end" });
    emulator.addFault({ kind: "status", status: 500 }, { chatId: "c2" });
    expect((await send("x")).status).toBe(201);
    expect((await create()).status).toBe(201);
    expect((await get("c2")).status).toBe(500);
    expect((await get("c2")).status).toBe(200);
    expect((await post("/api/chats/c1/end", { workspaceId: 42 })).status).toBe(503);
  });

  test("a request that fails the checks uses up no fault", async () => {
    emulator.addFault(BUSY);
    const path = "/api/chats/c1/completions";
    expect((await emulator.app.request(path, { method: "POST" })).status).toBe(401);
    expect((await post(path, {})).status).toBe(400);
    expect((await post(path, { workspaceId: 1, content: "x" })).status).toBe(403);
    expect((await send("x")).status).toBe(503);
  });

  test("clearFaults and reset leave none", async () => {
    emulator.addFault(BUSY);
    emulator.clearFaults();
    expect((await send("x")).status).toBe(201);
    emulator.addFault(BUSY);
    emulator.reset();
    expect((await send("x")).status).toBe(201);
  });

  test("a malformed fault in code throws, and queues nothing", async () => {
    expect(() => {
      emulator.addFault({ kind: "status", status: 600 });
    }).toThrow("599");
    expect(() => {
      emulator.addFault(BUSY, { times: 0 });
    }).toThrow("times");
    expect((await send("x")).status).toBe(201);
  });
});

const control = async (method: string, body?: unknown) =>
  emulator.app.request("/emulator/faults", {
    method,
    ...(body !== undefined && {
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    }),
  });

describe("over HTTP", () => {
  test("queues and clears without a token", async () => {
    const request = { fault: BUSY, times: 2, operation: "completion", chatId: "c1" };
    expect((await control("POST", request)).status).toBe(204);
    expect([(await send("x", "c2")).status, (await send("x")).status]).toEqual([201, 503]);
    expect((await control("DELETE")).status).toBe(204);
    expect((await send("x")).status).toBe(201);
  });

  test.each([
    {},
    { fault: { kind: "unknown" } },
    { fault: BUSY, times: 0 },
    { fault: BUSY, operation: "workspaces" },
    { fault: BUSY, time: 2 },
  ])("refuses %j with 400 and queues nothing", async (body) => {
    expect((await control("POST", body)).status).toBe(400);
    expect((await send("x")).status).toBe(201);
  });
});

describe("in the message", () => {
  test("strikes that message, each time, and leaves the queue alone", async () => {
    emulator.addFault(BUSY);
    const message = '!fault {"kind":"taken-then-status","status":502}\nand some text';
    expect([(await send(message)).status, (await send(message)).status]).toEqual([502, 502]);
    expect(emulator.messages()).toEqual([{ chatId: "c1", content: message, arrived: 2, taken: 2 }]);
    expect((await send("x")).status).toBe(503);
  });

  test.each(["!fault ", "!fault {", '!fault {"kind":"x"}', '!fault\u0020{"kind":\n"garbage"}'])(
    "refuses %j with 400 and takes nothing",
    async (content) => {
      expect((await send(content)).status).toBe(400);
      expect(emulator.messages()).toEqual([{ chatId: "c1", content, arrived: 1, taken: 0 }]);
    },
  );

  test.each(["!fault", "! fault {}", " !fault {}", "!faults {}"])("%j is plain text", (content) => {
    expect(parseFaultMessage(content)).toBeUndefined();
  });

  test("the line may end as Windows ends it", () => {
    expect(parseFaultMessage('!fault {"kind":"garbage"}\r\nmore')).toEqual({ kind: "garbage" });
  });
});

test.each([
  null,
  [],
  { kind: null },
  { delayMs: -1 },
  { delayMs: 120_001 },
  { delayMs: 1.5 },
  { kind: "status" },
  { kind: "status", status: 99 },
  { kind: "status", status: 200, headers: { "bad name": "x" } },
  { kind: "status", status: 200, headers: { name: "a\r\nb: c" } },
  { kind: "status", status: 200, retryAfter: "\n" },
  { kind: "body" },
  { kind: "body", body: "", status: 199 },
  { kind: "huge", bytes: 0 },
  { kind: "garbage", status: 200 },
])("%j is no fault", (value) => {
  expect(faultSchema.safeParse(value).success).toBe(false);
});
