/** The demo page in a real browser, over a proxy and a network that fail. */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import type { Readable } from "node:stream";

import type { Browser, BrowserContext, Page, Route } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";

import { startBrowser } from "../support/browser.ts";

const ENTRY = new URL("../../dist/demo/main.js", import.meta.url).pathname;

let browser: Browser;
let context: BrowserContext;
let page: Page;
let demo: ChildProcessByStdio<null, Readable, null>;
let pageUrl: string;
let emulatorUrl: string;

beforeAll(async () => {
  browser = await startBrowser();
  demo = spawn(process.execPath, [ENTRY], { stdio: ["ignore", "pipe", "ignore"] });
  let output = "";
  demo.stdout.setEncoding("utf8").on("data", (text: string) => (output += text));
  while (!output.includes("Ctrl-C ends it")) await once(demo.stdout, "data");
  pageUrl = /Demo page +(\S+)/.exec(output)?.[1] ?? "";
  emulatorUrl = /UponAI emulator +(\S+)/.exec(output)?.[1] ?? "";
});
afterAll(async () => {
  await browser.close();
  demo.kill("SIGINT");
  await once(demo, "exit");
});
beforeEach(async () => {
  context = await browser.newContext();
  page = await context.newPage();
});
afterEach(() => context.close());

const PROXY_PAGE = {
  status: 504,
  contentType: "text/html",
  body: "<!doctype html><h1>504 Gateway Time-out</h1>",
};

/** Answers requests as a proxy does that has cut them, for so many times. */
async function cut(path: string, times: number): Promise<void> {
  await page.route(path, (route: Route) => route.fulfill(PROXY_PAGE), { times });
}

const items = () => page.locator("#messages li").allTextContents();
const expectItems = async (...expected: readonly string[]) => {
  await expect
    .poll(items, { timeout: 20_000 })
    .toEqual(["Agent: Hello, how can I help?", ...expected]);
};

async function open(): Promise<void> {
  await page.goto(pageUrl);
  await expect.poll(items).toHaveLength(1);
}

async function type(text: string): Promise<void> {
  await page.fill("#content", text);
  await page.press("#content", "Enter");
}

/** How often the message arrived at UponAI, and how often it was taken. */
async function countsOf(content: string): Promise<unknown> {
  const answer = await fetch(`${emulatorUrl}/emulator/messages`);
  const { messages } = (await answer.json()) as {
    messages: { content: string; arrived: number; taken: number }[];
  };
  return messages
    .filter((message) => message.content === content)
    .map(({ arrived, taken }) => [arrived, taken]);
}

test("a proxy's HTML pages stop neither the start of the page nor a message", async () => {
  await cut("**/demo/session", 1);
  await cut("**/session", 1);
  await cut("**/chat", 1);
  await cut("**/send", 2);
  await open();
  await type("over a proxy");
  await expectItems("You: over a proxy", "Agent: You said: over a proxy");
  expect(await page.textContent("#status")).toBe("");
  expect(await countsOf("over a proxy")).toEqual([[1, 1]]);
});

test("a message is not lost by a reload: its text is there, its answer comes, and it is sent once", async () => {
  await open();
  const content = '!fault {"delayMs":3000}\nbefore the reload';
  const sending = page.waitForRequest("**/send");
  await page.fill("#content", content);
  await page.click("#send");
  const key = (await sending).headers()["idempotency-key"];
  await expect.poll(() => countsOf(content)).toEqual([[1, 0]]);
  const resending = page.waitForRequest("**/send");
  await page.reload();
  expect((await resending).headers()).toMatchObject({
    "idempotency-key": key,
    prefer: "respond-async, wait=25",
  });
  await expectItems(`You: ${content}`, `Agent: You said: ${content}`);
  expect(await countsOf(content)).toEqual([[1, 1]]);
  // The next reload shows the same, and sends nothing.
  await page.reload();
  await expectItems(`You: ${content}`, `Agent: You said: ${content}`);
  expect(await countsOf(content)).toEqual([[1, 1]]);
});

test("a refused message can be changed: its text is in the field again", async () => {
  await open();
  const content = '!fault {"kind":"status","status":422}\nrefused';
  await page.fill("#content", content);
  await page.click("#send");
  await expect.poll(() => page.textContent("#status")).toContain("Change the message");
  expect(await page.inputValue("#content")).toBe(content);
  expect(await page.isHidden("#again")).toBe(true);
});

test("Enter sends, but not while an input method composes, nor the Enter that ends it in Safari", async () => {
  await open();
  let requests = 0;
  page.on("request", (request) => {
    if (request.url().endsWith("/send")) requests += 1;
  });
  await page.fill("#content", "half-typed");
  const press = (init: object) => {
    const event = JSON.stringify({ key: "Enter", bubbles: true, cancelable: true, ...init });
    const target = 'document.querySelector("#content")';
    return page.evaluate(`${target}.dispatchEvent(new KeyboardEvent("keydown", ${event}))`);
  };
  // True: the page has left the key to the input method.
  expect(await press({ isComposing: true })).toBe(true);
  expect(await press({ keyCode: 229 })).toBe(true);
  expect(await press({ shiftKey: true })).toBe(true);
  expect(requests).toBe(0);
  expect(await press({ keyCode: 13 })).toBe(false);
  await expectItems("You: half-typed", "Agent: You said: half-typed");
  expect(requests).toBe(1);
});
