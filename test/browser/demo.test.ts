/** The demo page in real Chromium: each of its faults ends with one message at UponAI. */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import type { Readable } from "node:stream";

import type { Browser, BrowserContext, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";

import type { UponaiChatElement } from "../../src/browser/element.ts";
import { startBrowser } from "../support/browser.ts";

const ENTRY = new URL("../../dist/demo/main.js", import.meta.url).pathname;
/** Longest time of a fault that lasts: the slow answer takes 15 s. */
const PATIENCE = { timeout: 25_000 };

let browser: Browser;
let context: BrowserContext;
let page: Page;
let demo: ChildProcessByStdio<null, Readable, null>;
let pageUrl: string;
let emulatorUrl: string;
const faults: string[] = [];

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
  context = await browser.newContext({ reducedMotion: "reduce" });
  page = await context.newPage();
  page.on("pageerror", (error) => faults.push(error.message));
  await page.goto(pageUrl);
  await expect.poll(() => page.locator("#faults button").count()).toBeGreaterThan(0);
});
afterEach(async () => {
  await context.close();
  expect(faults.splice(0)).toEqual([]);
});

const texts = (user = "alice") =>
  page.locator(`#${user} .message:not(.dots-row) .bubble`).allTextContents();

async function type(text: string, user = "alice"): Promise<void> {
  await page.locator(`#${user} textarea`).fill(text);
  await page.locator(`#${user} textarea`).press("Enter");
}

const choose = (fault: string) => page.getByRole("button", { name: fault }).click();
const status = () => page.locator("#alice .status").textContent();

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

/** The limit is 20 messages a minute and user: each test has its own words, and few of them. */
async function expectAnswered(text: string): Promise<void> {
  await expect
    .poll(async () => (await texts()).slice(-2), PATIENCE)
    // The agent's line breaks are elements.
    .toEqual([text, `You said: ${text.replaceAll("\n", "")}`]);
}

describe("a fault ends with the answer on the screen and one message at UponAI", () => {
  test.each([
    ["Slow answer", "This can take a minute.", [[1, 1]]],
    ["Lost answer", "", [[1, 1]]],
    ["Proxy cut", "The connection was lost. Trying again", [[1, 1]]],
    ["Busy", "The service is busy.", [[2, 1]]],
    ["Rate limit", "Many messages in a short time.", [[1, 1]]],
    ["Restart", "The connection was lost. Trying again", [[1, 1]]],
  ])("%s", { timeout: 60_000 }, async (fault, told, counts) => {
    const text = `over ${fault}`;
    await type(`before ${fault}`);
    await expectAnswered(`before ${fault}`);
    await choose(fault);
    await expect
      .poll(() => page.getByRole("button", { name: fault }).getAttribute("aria-pressed"))
      .toBe("true");
    await type(text);
    if (told !== "") await expect.poll(status, PATIENCE).toContain(told);
    await expectAnswered(text);
    expect(await countsOf(text)).toEqual(counts);
    await expect.poll(() => page.locator("#seen").textContent()).toContain(`${text}once`);
  });

  test("Session ends", async () => {
    await choose("Session ends");
    await type("kept over the sign-in");
    await expect.poll(status).toContain("Please sign in to go on.");
    await page.getByRole("button", { name: "Sign in as Alice" }).click();
    await expectAnswered("kept over the sign-in");
    expect(await countsOf("kept over the sign-in")).toEqual([[1, 1]]);
  });
});

test("a chat that has ended gives the text back, and a new chat begins", async () => {
  await choose("Chat ends");
  await expect
    .poll(() => page.getByRole("button", { name: "Chat ends" }).getAttribute("aria-pressed"))
    .toBe("true");
  await type("too late");
  await expect.poll(status).toContain("This chat has ended.");
  await page.getByRole("button", { name: "Start a new chat" }).click();
  expect(await page.locator("#alice textarea").inputValue()).toBe("too late");
  await page.locator("#alice textarea").press("Enter");
  await expectAnswered("too late");
});

test("a reload in mid-message loses neither question nor answer, and sends once", async () => {
  await type("first of the reload");
  await expectAnswered("first of the reload");
  const text = '!fault {"delayMs":3000}\nbefore the reload';
  await page.locator("#alice textarea").fill(text);
  await page.locator("#alice textarea").press("Enter");
  await expect.poll(() => countsOf(text)).toEqual([[1, 0]]);
  await page.reload();
  await expectAnswered(text);
  expect(await countsOf(text)).toEqual([[1, 1]]);
  await page.reload();
  await expectAnswered(text);
  expect(await texts()).toContain("first of the reload");
  expect(await countsOf(text)).toEqual([[1, 1]]);
});

test("offline and back: the message waits, and is sent once", async () => {
  await type("online");
  await expectAnswered("online");
  await context.setOffline(true);
  await type("sent while offline");
  await expect.poll(status).toContain("The connection was lost. Trying again");
  expect(await countsOf("sent while offline")).toEqual([]);
  await context.setOffline(false);
  await expectAnswered("sent while offline");
  expect(await countsOf("sent while offline")).toEqual([[1, 1]]);
});

test("a page that comes back from the browser's cache goes on with its message", async () => {
  await type("cached page");
  await expectAnswered("cached page");
  const text = '!fault {"delayMs":2000}\nleft and returned';
  await page.locator("#alice textarea").fill(text);
  await page.locator("#alice textarea").press("Enter");
  await expect.poll(() => countsOf(text)).toEqual([[1, 0]]);
  await page.goto("about:blank");
  await page.goBack();
  await expectAnswered(text);
  expect(await countsOf(text)).toEqual([[1, 1]]);
});

test("two tabs with one chat: both show both messages, each sent once", async () => {
  await type("of the first tab");
  await expectAnswered("of the first tab");
  const id = await page.evaluate(
    () => document.querySelector<UponaiChatElement>("uponai-chat")?.chat.id,
  );
  const other = await context.newPage();
  await other.goto(pageUrl);
  await other.evaluate(
    (chatId) => document.querySelector("uponai-chat")?.setAttribute("chat-id", chatId ?? ""),
    id,
  );
  await expect
    .poll(() => other.locator("#alice .bubble").allTextContents())
    .toContain("You said: of the first tab");
  await other.locator("#alice textarea").fill("of the second tab");
  await other.locator("#alice textarea").press("Enter");
  await expectAnswered("of the second tab");
  expect(await countsOf("of the second tab")).toEqual([[1, 1]]);
  // A tab does not read again what it has just been told.
  let reads = 0;
  page.on("request", (request) => {
    if (request.method() === "GET" && request.url().includes("/chat/")) reads += 1;
  });
  await type("of the first tab again");
  await expectAnswered("of the first tab again");
  await expect
    .poll(() => other.locator("#alice .bubble").allTextContents())
    .toContain("You said: of the first tab again");
  expect(reads).toBe(0);
});

test("a chat belongs to someone: another user cannot open it", async () => {
  await type("of Alice");
  await expectAnswered("of Alice");
  await page.getByRole("button", { name: "Open Alice’s chat as Bob" }).click();
  await expect
    .poll(() => page.locator("#bob .status").textContent())
    .toContain("This chat does not exist any more.");
  expect(await texts("bob")).toEqual([]);
});

test.each([
  [1280, 800],
  [320, 568],
])("at %i pixels nothing is cut off", async (width, height) => {
  await page.setViewportSize({ width, height });
  for (const text of ["one", "two", "three"]) {
    await type(`${text} at ${width}`, "bob");
    await expect.poll(() => texts("bob"), PATIENCE).toContain(`You said: ${text} at ${width}`);
  }
  const { overflow, element, composer } = await page.evaluate(() => {
    const chat = document.querySelector<HTMLElement>("#bob");
    const form = chat?.shadowRoot?.querySelector("form");
    return {
      overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
      element: chat?.getBoundingClientRect(),
      composer: form?.getBoundingClientRect(),
    };
  });
  expect(overflow).toBe(0);
  expect(element?.height ?? 0).toBeLessThanOrEqual(height);
  expect(composer?.bottom ?? 0).toBeLessThanOrEqual(element?.bottom ?? 0);
});
