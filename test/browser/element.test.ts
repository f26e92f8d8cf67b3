/** The `<uponai-chat>` element in real Chromium, under a strict Content Security Policy. */
import { mkdirSync, readFileSync } from "node:fs";

import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";

import type { Chat } from "../../src/browser/index.ts";
import { UponaiChatElement } from "../../src/browser/element.ts";
import { startBrowser } from "../support/browser.ts";
import { type ElementPages, startElementPages } from "../support/element-page.ts";

/** The page's own names, see test/support/element-page.ts. */
declare const script: {
  calls: string[];
  result: string;
  set(change: object): void;
  say(...texts: readonly string[]): void;
};
declare const scripted: Chat;
declare const events: readonly (readonly [string, unknown])[];
declare const violations: readonly string[];
declare const axe: {
  run(): Promise<{ violations: readonly { id: string; nodes: readonly { html: string }[] }[] }>;
};

const AXE = readFileSync(
  new URL("../../node_modules/axe-core/axe.min.js", import.meta.url),
  "utf8",
);

/** Screenshots for a designer's eye, where asked for. */
const SHOTS = process.env["SCREENSHOTS"];

let browser: Browser;
let pages: ElementPages;
let page: Page;

beforeAll(async () => {
  browser = await startBrowser();
  pages = await startElementPages(browser);
});
afterAll(async () => {
  await browser.close();
  await pages.close();
});
afterEach(async () => {
  const found = await page.evaluate(() => violations);
  await page.context().close();
  expect(found).toEqual([]);
});

const CHAT = '<uponai-chat heading="Ask us" bot-name="Agent"></uponai-chat>';

async function open(body = CHAT, options: BrowserContextOptions = {}): Promise<void> {
  page = await pages.open(body, options);
}

const set = (change: object) => page.evaluate((value) => script.set(value), change);
const say = (...texts: readonly string[]) =>
  page.evaluate((values) => script.say(...values), texts);
const calls = () => page.evaluate(() => script.calls);
const status = () => page.locator(".status").textContent();
const input = () => page.locator("textarea");

/** A snapshot's error: what the element reads of a `ChatError`. */
const error = (code: string, sent = "no", httpStatus = 0) => ({ code, sent, status: httpStatus });
const pendingMessage = (text: string, more: object = {}) => ({
  status: "submitted",
  pending: { text, sinceMs: Date.now(), ...more },
});

/** All states that a user can see. */
const STATES: Readonly<Record<string, { readonly change: object; readonly text: string }>> = {
  loading: { change: { status: "loading" }, text: "Loading the conversation…" },
  waiting: { change: pendingMessage("hi"), text: "Waiting for the answer…" },
  slow: {
    change: pendingMessage("hi", { sinceMs: Date.now() - 11_000 }),
    text: "This can take a minute.",
  },
  "very slow": {
    change: pendingMessage("hi", { sinceMs: Date.now() - 41_000 }),
    text: "Still working. You may leave this page: the answer will be here when you return.",
  },
  "rate limited": {
    change: pendingMessage("hi", {
      retry: { atMs: Date.now() + 3_600_000, reason: error("rate_limited", "no", 429) },
    }),
    text: "Many messages in a short time. Your message is sent again by itself",
  },
  busy: {
    change: pendingMessage("hi", {
      retry: { atMs: Date.now() + 3_600_000, reason: error("upstream_busy", "no", 503) },
    }),
    text: "The service is busy. Your message is sent again by itself",
  },
  reconnecting: {
    change: pendingMessage("hi", {
      retry: { atMs: Date.now() + 3_600_000, reason: error("unreachable", "unknown") },
    }),
    text: "The connection was lost. Trying again",
  },
  "unknown outcome": {
    change: {
      ...pendingMessage("hi"),
      status: "error",
      error: error("outcome_unknown", "unknown", 504),
    },
    text: "We do not know yet whether your message has arrived.",
  },
  "session needed": {
    change: { ...pendingMessage("hi"), status: "error", error: error("session_required") },
    text: "Please sign in to go on. Your message is kept.",
  },
  refused: {
    change: { status: "error", error: error("message_rejected", "refused", 422) },
    text: "This message was not accepted. Please change it.",
  },
  ended: { change: { status: "ended" }, text: "This chat has ended." },
};

const LONG = `# Opening hours

We are open **every day**, see https://example.com/hours or [our page](https://example.com).

1. Choose a day
2. Choose a time
   - in the morning
   - in the afternoon

\`\`\`js
const hours = { open: "09:00", close: "18:00", note: "a line that is longer than the message is wide" };
\`\`\`

| Day | Open | Close |
| --- | --- | --- |
| Monday | 9:00 | 18:00 |
| Sunday | 10:00 | 16:00 |`;

async function expectAccessible(name: string): Promise<void> {
  // Evaluated by the debugger: the policy of the page allows no script that is added later.
  await page.evaluate(AXE);
  const found = await page.evaluate(async () =>
    (await axe.run()).violations.map(({ id, nodes }) => `${id}: ${nodes[0]?.html ?? ""}`),
  );
  expect(found, name).toEqual([]);
  if (SHOTS === undefined) return;
  mkdirSync(SHOTS, { recursive: true });
  await page.screenshot({ path: `${SHOTS}/${name.replaceAll(" ", "-")}.png` });
}

const press = (init: object) =>
  page.evaluate((event) => {
    const field = document
      .querySelector("uponai-chat")
      ?.shadowRoot?.querySelector<HTMLTextAreaElement>("textarea");
    // True: the element has left the key to the input method.
    return field?.dispatchEvent(
      new KeyboardEvent("keydown", { key: "Enter", bubbles: true, cancelable: true, ...event }),
    );
  }, init);

const scroll = () =>
  page.locator(".log").evaluate(({ scrollTop, scrollHeight, clientHeight }) => ({
    top: scrollTop,
    fromEnd: Math.round(scrollHeight - scrollTop - clientHeight),
  }));

describe("each state is told, and accessible", () => {
  test.each(Object.entries(STATES))("%s", async (name, { change, text }) => {
    for (const colorScheme of ["light", "dark"] as const) {
      await open(CHAT, { colorScheme });
      await say("Hello, how can I help?", "hi there", "You said: **hi** there");
      await set(change);
      expect(await status()).toContain(text);
      await expectAccessible(`${name} ${colorScheme}`);
      if (colorScheme === "light") await page.context().close();
    }
  });

  test.each<[string, string, BrowserContextOptions]>([
    ["narrow", CHAT, { viewport: { width: 320, height: 568 } }],
    ["forced colours", CHAT, { forcedColors: "active" }],
    ["right to left", `<div dir="rtl" lang="ar">${CHAT}</div>`, {}],
    ["German", `<div lang="de">${CHAT}</div>`, {}],
    ["double size", CHAT, { viewport: { width: 640, height: 480 }, deviceScaleFactor: 2 }],
  ])("%s", async (name, body, options) => {
    await open(body, options);
    await say("Hello, how can I help?", "When are you open?", LONG);
    await expectAccessible(name);
    const overflow = await page.evaluate(
      () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
    );
    expect(overflow).toBe(0);
  });

  test("empty", async () => {
    await open();
    expect(await page.locator(".empty").textContent()).toBe("How can we help you?");
    await expectAccessible("empty");
  });
});

test("the texts are those of the page's language, and the operator's own win", async () => {
  await open(`<div lang="de">${CHAT}</div>`);
  expect(await input().getAttribute("placeholder")).toBe("Nachricht schreiben");
  await page.evaluate(() => {
    const element = document.querySelector("uponai-chat");
    if (element !== null) element.labels = { empty: "Hallo!" };
  });
  expect(await page.locator(".empty").textContent()).toBe("Hallo!");
  expect(await input().getAttribute("placeholder")).toBe("Nachricht schreiben");
});

test("the countdown is shown, and not read out", async () => {
  await open();
  await set(
    pendingMessage("hi", { retry: { atMs: Date.now() + 90_500, reason: error("rate_limited") } }),
  );
  const shown = page.locator('.status [aria-hidden="true"]');
  await expect.poll(() => shown.textContent()).toMatch(/^in (?:91|90) s$/);
  await expect.poll(() => shown.textContent()).toMatch(/^in (?:89|88) s$/);
  expect(await page.locator('[role="status"]').textContent()).not.toMatch(/\d/);
});

describe("sending", () => {
  test("Enter sends; Shift+Enter and the Enter of an input method do not", async () => {
    await open();
    await input().fill("half-typed");
    expect(await press({ isComposing: true })).toBe(true);
    expect(await press({ keyCode: 229 })).toBe(true);
    expect(await press({ shiftKey: true })).toBe(true);
    expect(await calls()).toEqual([]);
    expect(await press({ keyCode: 13 })).toBe(false);
    expect(await calls()).toEqual(["send half-typed"]);
    expect(await input().inputValue()).toBe("");
  });

  test("Enter breaks the line on touch screens, and with send-key", async () => {
    await open(CHAT, { hasTouch: true, isMobile: true });
    await input().fill("touch");
    expect(await press({})).toBe(true);
    await page.locator(".send").tap();
    expect(await calls()).toEqual(["send touch"]);
    await page.context().close();
    await open('<uponai-chat send-key="mod-enter"></uponai-chat>');
    await input().fill("keys");
    expect(await press({})).toBe(true);
    expect(await press({ ctrlKey: true })).toBe(false);
    expect(await calls()).toEqual(["send keys"]);
  });

  test("a pending message, a blank text and a disabled element send nothing, and no text is lost", async () => {
    await open();
    await input().fill("  ");
    expect(await page.locator(".send").isDisabled()).toBe(true);
    await input().press("Enter");
    await set(pendingMessage("first"));
    await input().fill("second");
    await input().press("Enter");
    expect(await input().inputValue()).toBe("second");
    expect(await page.locator(".send").isDisabled()).toBe(true);
    await set({ status: "ready", pending: undefined });
    expect(await page.locator(".send").isDisabled()).toBe(false);
    await page.evaluate(() => document.querySelector("uponai-chat")?.setAttribute("disabled", ""));
    expect(await input().isDisabled()).toBe(true);
    expect(await calls()).toEqual([]);
  });

  test("a refused text returns to the input, before what was typed meanwhile", async () => {
    await open();
    await page.evaluate(() => {
      script.result = "refused";
    });
    await input().fill("refused");
    await input().press("Enter");
    await expect.poll(() => input().inputValue()).toBe("refused");
  });

  test("the page can cancel it, and is told of it", async () => {
    await open();
    await page.evaluate(() => {
      document.addEventListener("uponai-send", (event) => event.preventDefault(), { once: true });
    });
    await input().fill("cancelled");
    await input().press("Enter");
    expect(await calls()).toEqual([]);
    expect(await input().inputValue()).toBe("cancelled");
    await input().press("Enter");
    expect(await calls()).toEqual(["send cancelled"]);
  });

  test("an unknown outcome can be tried again or discarded; an ended chat begins anew", async () => {
    await open();
    await set(STATES["unknown outcome"]?.change ?? {});
    await page.getByRole("button", { name: "Try again" }).click();
    await page.getByRole("button", { name: "Discard" }).click();
    expect(await calls()).toEqual(["retry", "dismiss"]);
    expect(await input().inputValue()).toBe("hi");
    await set({ status: "ended", pending: undefined, error: undefined });
    expect(await input().isVisible()).toBe(false);
    await page.getByRole("button", { name: "Start a new chat" }).click();
    expect(await calls()).toEqual(["retry", "dismiss", "newChat"]);
  });

  test("a chat that is left gives back the text that was on its way", async () => {
    await open();
    await input().fill("typed meanwhile");
    await set({ status: "submitted", pending: { text: "on its way", sinceMs: Date.now() } });
    await page.evaluate(() => document.querySelector("uponai-chat")?.newChat());
    expect(await calls()).toEqual(["newChat"]);
    expect(await input().inputValue()).toBe("on its way\ntyped meanwhile");
  });
});

test("events tell the page what happens, and history is no news", async () => {
  await open("");
  await say("old");
  await page.evaluate(() => {
    const element = document.createElement("uponai-chat");
    element.chat = scripted;
    document.body.append(element);
  });
  await set(pendingMessage("hi"));
  await set({ status: "ready", pending: undefined });
  await say("hi", "new");
  await set({ status: "error", error: error("session_required") });
  await set({ status: "ended", error: undefined });
  const seen = await page.evaluate(() => events);
  expect(seen).toEqual([
    ["status", "ready"],
    ["ready", undefined],
    ["status", "submitted"],
    ["status", "ready"],
    ["message", "new"],
    ["session-required", "session_required"],
    ["error", "session_required"],
    ["status", "error"],
    ["status", "ended"],
    ["end", undefined],
  ]);
});

describe("the log", () => {
  test("alone scrolls: the composer stays on a screen of 320 px after 30 messages", async () => {
    await open(CHAT, { viewport: { width: 320, height: 568 } });
    for (let count = 0; count < 30; count += 1) await say(`message ${count} of this chat`);
    const box = await page.locator(".composer").boundingBox();
    expect((box?.y ?? 0) + (box?.height ?? 0)).toBeLessThanOrEqual(568);
    expect((await scroll()).fromEnd).toBeLessThanOrEqual(1);
    const last = await page.locator(".message:not(.dots-row)").last().boundingBox();
    expect((last?.y ?? 0) + (last?.height ?? 0)).toBeLessThanOrEqual(box?.y ?? 0);
  });

  test("does not move under a reader who has scrolled up", async () => {
    await open();
    for (let count = 0; count < 31; count += 1) await say(`message ${count}`);
    await page.locator(".log").evaluate((log) => log.scrollTo(0, 40));
    await say("own message");
    // The reader's own message is shown.
    expect((await scroll()).fromEnd).toBeLessThanOrEqual(1);
    await page.locator(".log").evaluate((log) => log.scrollTo(0, 40));
    await say("an answer");
    expect((await scroll()).top).toBe(40);
  });

  test("shows a tall answer from its top", async () => {
    await open();
    await say("Hello", "A question");
    await say("line of the answer\n\n".repeat(60));
    const answer = await page.locator(".assistant:not(.dots-row)").last().boundingBox();
    const log = await page.locator(".log").boundingBox();
    const fromTop = (answer?.y ?? 0) - (log?.y ?? 0);
    expect(fromTop).toBeGreaterThanOrEqual(0);
    expect(fromTop).toBeLessThan(60);
  });

  test("is a log only when the history is in", async () => {
    await open();
    await set({ status: "loading" });
    const role = () => page.locator(".log").getAttribute("role");
    expect(await role()).toBe("log");
    // Another chat has another history.
    await page.evaluate(() => {
      script.set({ status: "loading" });
      const element = document.querySelector("uponai-chat");
      if (element !== null) element.chat = scripted;
    });
    await say("an old message");
    expect(await role()).toBe(null);
    await set({ status: "ready" });
    expect(await role()).toBe("log");
  });

  test("holds 100 of 1,000 messages, and shows more when asked", async () => {
    await open();
    await page.evaluate(() =>
      script.say(...Array.from({ length: 1_000 }, (_, index) => `message ${index}`)),
    );
    const messages = page.locator(".message:not(.dots-row)");
    expect(await messages.count()).toBe(100);
    const first = await messages.first().elementHandle();
    await say("one more");
    expect(await messages.count()).toBe(100);
    // A message keeps its node while it is shown: the oldest has left, the others are the same.
    expect(await first.evaluate((node) => node.isConnected)).toBe(false);
    await page.getByRole("button", { name: "Show earlier messages" }).click();
    expect(await messages.count()).toBe(200);
  });

  test("moves no message when the oldest of 100 leaves", async () => {
    await open();
    await page.evaluate(() =>
      script.say(...Array.from({ length: 100 }, (_, index) => `message ${index}`)),
    );
    const changed = await page.locator(".list").evaluate((list) => {
      const observer = new MutationObserver(() => undefined);
      observer.observe(list, { childList: true });
      script.say("one more");
      return observer
        .takeRecords()
        .map(({ addedNodes, removedNodes }) => [addedNodes.length, removedNodes.length]);
    });
    // The oldest leaves, and the new one comes: screen readers read out each node that is inserted.
    expect(changed).toEqual([
      [0, 1],
      [1, 0],
    ]);
  });

  test("renders a message once", async () => {
    await open();
    await say("one", "two");
    const node = await page.locator(".message").first().elementHandle();
    await say("three");
    await set(pendingMessage("four"));
    expect(
      await node.evaluate((before) => before === before.parentElement?.querySelector(".message")),
    ).toBe(true);
  });
});

test.each([
  ["--uponai-accent", ".send", "background-color"],
  ["--uponai-on-accent", ".user .bubble", "color"],
  ["--uponai-background", ".frame", "background-color"],
  ["--uponai-text", ".assistant .bubble", "color"],
  ["--uponai-muted", ".name", "color"],
  ["--uponai-border", ".frame", "border-top-color"],
  ["--uponai-bubble", ".assistant .bubble", "background-color"],
  ["--uponai-error", ".status", "color"],
  ["--uponai-radius", ".frame", "border-top-left-radius"],
  ["--uponai-font", ".frame", "font-family"],
  ["--uponai-font-size", "textarea", "font-size"],
])("%s styles %s", async (name, selector, property) => {
  await open();
  await say("Hello", "Hi");
  await set({ status: "error", error: error("internal_error") });
  await input().fill("text");
  const value = property.endsWith("color")
    ? "rgb(1, 2, 3)"
    : property === "font-family"
      ? "Some"
      : "23px";
  await page.evaluate(
    ([variable, given]) =>
      document.querySelector("uponai-chat")?.style.setProperty(variable ?? "", given ?? ""),
    [name, value],
  );
  const computed = await page
    .locator(selector)
    .first()
    .evaluate((node, wanted) => getComputedStyle(node).getPropertyValue(wanted), property);
  expect(computed).toBe(value);
});

test.each([
  ["ltr", "English", ["bottom-left", "bottom-right"]],
  ["rtl", "English", ["bottom-right", "bottom-left"]],
  ["ltr", "\u05e9\u05dc\u05d5\u05dd", ["bottom-left", "bottom-right"]],
  ["rtl", "\u05e9\u05dc\u05d5\u05dd", ["bottom-right", "bottom-left"]],
])("on a page of %s, a bubble of %s points to its own side", async (dir, text, corners) => {
  await open(`<div dir="${dir}">${CHAT}</div>`);
  await say(text, text);
  const found = await page.locator(".message:not(.dots-row) .bubble").evaluateAll((bubbles) =>
    bubbles.map((bubble) => {
      const style = getComputedStyle(bubble);
      return ["bottom-left", "bottom-right"].filter(
        (corner) => style.getPropertyValue(`border-${corner}-radius`) === "4px",
      );
    }),
  );
  expect(found).toEqual(corners.map((corner) => [corner]));
});

test("the send button is as tall as the empty input, and level with it", async () => {
  await open();
  const field = await input().boundingBox();
  const button = await page.locator(".send").boundingBox();
  expect(Math.abs((button?.height ?? 0) - (field?.height ?? 0))).toBeLessThanOrEqual(1);
  expect(Math.abs((button?.y ?? 0) - (field?.y ?? 0))).toBeLessThanOrEqual(1);
});

test("slots and renderText replace what is shown, and user text is never Markdown", async () => {
  await open(
    '<uponai-chat><b slot="header">Header</b><i slot="empty">Empty</i><u slot="footer">Footer</u></uponai-chat>',
  );
  for (const text of ["Header", "Empty", "Footer"]) {
    expect(await page.getByText(text, { exact: true }).isVisible()).toBe(true);
  }
  await say("**bold**", "**plain**");
  expect(await page.locator(".assistant strong").textContent()).toBe("bold");
  expect(await page.locator(".user .bubble").textContent()).toBe("**plain**");
  await page.evaluate(() => {
    const element = document.querySelector("uponai-chat");
    if (element !== null) element.renderText = (text) => new Text(`own ${text}`);
  });
  expect(await page.locator(".assistant .bubble").first().textContent()).toBe("own **bold**");
});

test("properties that were set before the element was defined count", async () => {
  await open("");
  const [before, after] = await page.evaluate(async () => {
    const element = document.createElement("uponai-chat");
    const early: Partial<UponaiChatElement> = {
      labels: { you: "early" },
      disabled: true,
      token: "early",
      renderText: (text) => new Text(`early ${text}`),
      chat: scripted,
    };
    for (const [name, value] of Object.entries(early)) {
      // As on an element that is defined later.
      Object.defineProperty(element, name, { value, configurable: true, writable: true });
    }
    script.say("one", "two");
    document.body.append(element);
    const read = () => {
      const own = Object.keys(early).filter((name) => Object.hasOwn(element, name));
      const field = element.shadowRoot?.querySelector("textarea");
      const texts = [...(element.shadowRoot?.querySelectorAll(".message.user > *") ?? [])];
      return [own, element.token, field?.disabled, texts.map((node) => node.textContent)];
    };
    const first = read();
    element.disabled = false;
    return [first, read()];
  });
  expect(before).toEqual([[], "early", true, ["early", "early two"]]);
  expect(after).toEqual([[], "early", false, ["early", "early two"]]);
});

test("an element that is opened asks, stores and sets nothing before the user sends", async () => {
  await open("");
  const requests: string[] = [];
  page.on("request", (request) => requests.push(request.url()));
  const stored = await page.evaluate(async () => {
    document.body.append(document.createElement("uponai-chat"));
    await new Promise((resolve) => requestAnimationFrame(resolve));
    return [sessionStorage.length, localStorage.length, document.cookie];
  });
  expect(stored).toEqual([0, 0, ""]);
  expect(requests).toEqual([]);
});

test("on a server the element is imported, and defines nothing", async () => {
  await open();
  expect(typeof UponaiChatElement).toBe("function");
  expect("customElements" in globalThis).toBe(false);
});
