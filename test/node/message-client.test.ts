/**
 * The client of docs/sending.md, word for word, against the faults of UponAI, of proxies and of the
 * network.
 */
import { readFileSync } from "node:fs";

import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";

import type { Fault } from "../../src/emulator/faults.ts";
import type { RunningEmulator } from "../../src/emulator/listen.ts";
import { startTestBff, startTestEmulator } from "../support/bff-fixture.ts";
import type { BffProcess } from "../support/bff-process.ts";
import { createTestChat, type TestChat } from "../support/chat-fixture.ts";
import { startCuttingProxy } from "../support/cutting-proxy.ts";
import { loadClient, readDocumentedClient, stubBrowser } from "../support/message-client.ts";

const { fetch: realFetch } = globalThis;

let emulator: RunningEmulator;
let bff: BffProcess;

beforeAll(async () => {
  emulator = await startTestEmulator();
  bff = await startTestBff(emulator.url, {
    UPSTREAM_TIMEOUT: "20s",
    RECOVERY_WINDOW: "2s",
    LIMIT_SESSION: "off",
    LIMIT_IP: "off",
  });
});
afterAll(async () => {
  await bff.stop();
  await emulator.close();
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

const set = (name: string, value: unknown) => void vi.stubGlobal(name, value);

/** A browser whose requests go to `url`, with the session of the chat's subject. */
function openBrowser(chat: TestChat, url: string) {
  return stubBrowser(set, async (path, init) =>
    realFetch(`${url}${path}`, {
      ...init,
      headers: { ...(init.headers as Record<string, string>), ...(await chat.credentials()) },
    }),
  );
}

/** A browser whose requests are answered by `answer`; returns the requests. */
function scriptBrowser(answer: (count: number) => Response | undefined) {
  const sent: { readonly path: string; readonly headers: Headers; readonly body: unknown }[] = [];
  const browser = stubBrowser(set, (path, { headers, body }) => {
    sent.push({ path, headers: new Headers(headers), body: JSON.parse(body) });
    const given = answer(sent.length);
    return given === undefined
      ? Promise.reject(new TypeError("Failed to fetch"))
      : Promise.resolve(given);
  });
  return { ...browser, sent };
}

const PAGE = "<!doctype html><h1>504 Gateway Time-out</h1>";
const answerPage = (status: number) =>
  new Response(PAGE, { status, headers: { "Content-Type": "text/html" } });
const answerProblem = (status: number, code: string, headers: Record<string, string> = {}) =>
  new Response(JSON.stringify({ code, status, detail: `detail of ${code}` }), {
    status,
    headers: { "Content-Type": "application/problem+json", ...headers },
  });
const ANSWER = { messages: [{ role: "assistant", content: "Hi" }] };
const answerMessages = () =>
  new Response(JSON.stringify(ANSWER), {
    status: 201,
    headers: { "Content-Type": "application/json" },
  });

test("the demo page uses the documented client", () => {
  const demo = readFileSync(new URL("../../src/demo/message-client.js", import.meta.url), "utf8");
  expect(readDocumentedClient()).toBe(demo);
});

describe("against the faults of UponAI the message is answered, and taken once", () => {
  const faults: Readonly<Record<string, Fault>> = {
    "an answer that is lost": { kind: "reset-after" },
    "a 500 after the message was taken": { kind: "taken-then-status", status: 500 },
    "an answer that is no JSON": { kind: "garbage" },
    "an answer that is too large": { kind: "huge" },
    "an answer that is too slow": { kind: "taken-then-delay", delayMs: 60_000 },
    "a 503 that names a time": { kind: "status", status: 503, retryAfter: "1" },
    "too many requests": { kind: "status", status: 429 },
  };

  test.each(Object.entries(faults))("%s", { timeout: 60_000 }, async (name, fault) => {
    const chat = createTestChat(emulator);
    const { stored } = openBrowser(chat, bff.url);
    chat.addFault(fault);
    const client = await loadClient();
    const content = `over ${name}`;
    const answer = await client.sendMessage(chat.chatId, content);
    expect(answer.messages).toEqual([{ role: "assistant", content: `You said: ${content}` }]);
    expect(chat.counts(content).taken).toBe(1);
    expect(client.findPending(chat.chatId)).toBeUndefined();
    expect(stored.size).toBe(0);
  });
});

test(
  "behind a proxy that cuts every request with its HTML page, the message is answered, and sent once",
  { timeout: 60_000 },
  async () => {
    const chat = createTestChat(emulator);
    chat.addFault({ delayMs: 8_000 });
    const proxy = await startCuttingProxy({ targets: [bff.url], cutMs: 2_000 });
    openBrowser(chat, proxy.url);
    const { sendMessage } = await loadClient();
    const answer = await sendMessage(chat.chatId, "cut");
    expect(answer.messages).toEqual([{ role: "assistant", content: "You said: cut" }]);
    expect(proxy.cuts()).toBeGreaterThan(1);
    expect(chat.counts("cut")).toEqual({ arrived: 1, taken: 1 });
    await proxy.close();
  },
);

test(
  "a reload in mid-message goes on with the same key and text, and the message is sent once",
  { timeout: 60_000 },
  async () => {
    const chat = createTestChat(emulator);
    chat.addFault({ delayMs: 3_000 });
    openBrowser(chat, bff.url);
    const before = await loadClient();
    // The page is gone before the answer: nobody waits for this promise.
    before.sendMessage(chat.chatId, "reloaded").catch(() => undefined);
    await expect.poll(() => chat.counts("reloaded").arrived).toBe(1);
    const after = await loadClient();
    expect(after.findPending("another-chat")).toBeUndefined();
    expect(after.findPending(chat.chatId)).toMatchObject({ content: "reloaded" });
    const answer = await after.resumeMessage(chat.chatId);
    expect(answer.messages).toEqual([{ role: "assistant", content: "You said: reloaded" }]);
    expect(chat.counts("reloaded")).toEqual({ arrived: 1, taken: 1 });
    expect(after.findPending(chat.chatId)).toBeUndefined();
  },
);

/** Moves the timers until the promise is settled; returns what it became. */
async function run<Value>(working: Promise<Value>): Promise<Value | Error> {
  const settled: (Value | Error)[] = [];
  working.then(
    (value) => settled.push(value),
    (error: unknown) => settled.push(error as Error),
  );
  for (;;) {
    const [value] = settled;
    if (value !== undefined) return value;
    await vi.advanceTimersByTimeAsync(500);
  }
}

describe("repeats", () => {
  test("have the same key and text, ask for a bounded wait, and do not end after some seconds", async () => {
    vi.useFakeTimers();
    const { sent } = scriptBrowser((count) => (count <= 12 ? undefined : answerMessages()));
    const { sendMessage } = await loadClient();
    const began = Date.now();
    expect(await run(sendMessage("chat-1", "hi"))).toMatchObject(ANSWER);
    expect(Date.now() - began).toBeGreaterThan(60_000);
    expect(sent).toHaveLength(13);
    expect(new Set(sent.map(({ headers }) => headers.get("idempotency-key"))).size).toBe(1);
    expect(new Set(sent.map(({ headers }) => headers.get("prefer")))).toEqual(
      new Set(["respond-async, wait=25"]),
    );
    expect(new Set(sent.map(({ path }) => path))).toEqual(new Set(["/chat/chat-1/send"]));
    for (const { body } of sent) expect(body).toEqual({ content: "hi" });
  });

  test.each([
    ["an HTML page of a proxy", () => answerPage(504)],
    ["an HTML page with 200", () => answerPage(200)],
    ["an HTML page with 500", () => answerPage(500)],
    [
      "a proxy's own JSON",
      () =>
        new Response('{"message":"Endpoint request timed out"}', {
          status: 504,
          headers: { "Content-Type": "application/json" },
        }),
    ],
    [
      "JSON that is cut off",
      () =>
        new Response('{"messages":[', {
          status: 201,
          headers: { "Content-Type": "application/json" },
        }),
    ],
    [
      "202",
      () =>
        new Response('{"status":"running"}', {
          status: 202,
          headers: { "Content-Type": "application/json", "Retry-After": "0" },
        }),
    ],
    [
      "request_in_progress",
      () => answerProblem(409, "request_in_progress", { "Retry-After": "1" }),
    ],
    ["chat_busy", () => answerProblem(409, "chat_busy", { "Retry-After": "1" })],
    ["rate_limited", () => answerProblem(429, "rate_limited", { "Retry-After": "3" })],
    ["shutting_down", () => answerProblem(503, "shutting_down", { "Retry-After": "1" })],
    ["outcome_unknown", () => answerProblem(504, "outcome_unknown")],
    ["no connection", () => undefined],
  ])("come after %s", async (_name, first) => {
    vi.useFakeTimers();
    const { sent } = scriptBrowser((count) => (count === 1 ? first() : answerMessages()));
    const { sendMessage } = await loadClient();
    expect(await run(sendMessage("chat-1", "hi"))).toMatchObject(ANSWER);
    expect(sent).toHaveLength(2);
  });

  test.each([
    [409, "chat_ended", false],
    [422, "message_rejected", false],
    [404, "chat_not_found", false],
    [400, "invalid_request", false],
    [502, "upstream_auth_failed", false],
    [401, "session_expired", true],
    [500, "internal_error", true],
  ])("do not come after %i %s", async (status, code, isPending) => {
    vi.useFakeTimers();
    const { sent } = scriptBrowser(() => answerProblem(status, code));
    const { sendMessage, findPending } = await loadClient();
    const refused = await run(sendMessage("chat-1", "hi"));
    expect(refused).toBeInstanceOf(Error);
    expect(refused).toMatchObject({ message: `detail of ${code}`, problem: { code }, isPending });
    expect(sent).toHaveLength(1);
    expect(findPending("chat-1") !== undefined).toBe(isPending);
  });

  test("do not come after a page with which a proxy refuses the request", async () => {
    vi.useFakeTimers();
    const { sent } = scriptBrowser(() => answerPage(413));
    const { sendMessage } = await loadClient();
    expect(await run(sendMessage("chat-1", "hi"))).toMatchObject({ isPending: false });
    expect(sent).toHaveLength(1);
  });

  test("end after ten minutes; the message stays, and goes on with the same key", async () => {
    vi.useFakeTimers();
    let isUp = false;
    const { sent } = scriptBrowser(() => (isUp ? answerMessages() : answerPage(502)));
    const { sendMessage, resumeMessage, findPending } = await loadClient();
    const began = Date.now();
    expect(await run(sendMessage("chat-1", "hi"))).toMatchObject({ isPending: true });
    expect(Date.now() - began).toBeGreaterThan(540_000);
    expect(Date.now() - began).toBeLessThanOrEqual(600_000);
    expect(findPending("chat-1")).toMatchObject({ content: "hi" });
    isUp = true;
    expect(await run(resumeMessage("chat-1"))).toMatchObject(ANSWER);
    expect(new Set(sent.map(({ headers }) => headers.get("idempotency-key"))).size).toBe(1);
  });

  test("end after five answers that the outcome is unknown; the message stays", async () => {
    vi.useFakeTimers();
    const { sent } = scriptBrowser(() => answerProblem(504, "outcome_unknown"));
    const { sendMessage, findPending } = await loadClient();
    const told = await run(sendMessage("chat-1", "hi"));
    expect(told).toMatchObject({ problem: { code: "outcome_unknown" }, isPending: true });
    expect(sent).toHaveLength(5);
    expect(findPending("chat-1")).toBeDefined();
  });

  test("wait for as long as the service says, and not longer than until the browser is online", async () => {
    vi.useFakeTimers();
    const { sent, goOnline } = scriptBrowser((count) =>
      count === 1 ? answerProblem(429, "rate_limited", { "Retry-After": "30" }) : answerMessages(),
    );
    const { sendMessage } = await loadClient();
    const sending = sendMessage("chat-1", "hi");
    await vi.advanceTimersByTimeAsync(29_999);
    expect(sent).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(1);
    expect(sent).toHaveLength(2);
    await sending;

    scriptBrowser(() => answerMessages());
    const offline = scriptBrowser((count) => (count <= 6 ? undefined : answerMessages()));
    const again = sendMessage("chat-1", "hi");
    await vi.advanceTimersByTimeAsync(40_000);
    const before = offline.sent.length;
    offline.goOnline();
    await vi.advanceTimersByTimeAsync(0);
    expect(offline.sent).toHaveLength(before + 1);
    await run(again);
    goOnline();
  });

  test("come when a request has no answer at all", async () => {
    vi.useFakeTimers();
    let requests = 0;
    stubBrowser(set, (_path, { signal }) => {
      requests += 1;
      if (requests > 1) return Promise.resolve(answerMessages());
      return new Promise((_, reject) => {
        signal?.addEventListener("abort", () => reject(new Error("aborted")));
      });
    });
    const { sendMessage } = await loadClient();
    expect(await run(sendMessage("chat-1", "hi"))).toMatchObject(ANSWER);
    expect(requests).toBe(2);
  });
});

test("a browser without storage sends all the same", async () => {
  scriptBrowser(() => answerMessages());
  set("sessionStorage", undefined);
  const { sendMessage, findPending } = await loadClient();
  expect(await sendMessage("chat-1", "hi")).toMatchObject(ANSWER);
  expect(findPending("chat-1")).toBeUndefined();
});

describe("Enter", () => {
  const enter = { key: "Enter", shiftKey: false, isComposing: false, keyCode: 13 };

  test.each([
    ["sends", enter, true],
    ["with Shift breaks the line", { ...enter, shiftKey: true }, false],
    ["of an input method that composes does not send", { ...enter, isComposing: true }, false],
    ["that ends a composition in Safari does not send", { ...enter, keyCode: 229 }, false],
    ["is the only key that sends", { ...enter, key: "a" }, false],
  ])("%s", async (_name, event, sends) => {
    const { isSendKey } = await loadClient();
    expect(isSendKey(event)).toBe(sends);
  });
});
