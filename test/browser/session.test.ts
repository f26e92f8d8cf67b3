/** The session cookie in a real browser, on pages of the own origin and of other origins. */
import type { Browser, BrowserContext, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";

import type { RunningEmulator } from "../../src/emulator/listen.ts";
import { CHAT, startTestBff, startTestEmulator } from "../support/bff-fixture.ts";
import type { BffProcess } from "../support/bff-process.ts";
import { type PageServer, startBrowser, startPageServer } from "../support/browser.ts";
import { mintToken } from "../support/session-tokens.ts";

let browser: Browser;
let context: BrowserContext;
let emulator: RunningEmulator;
let listed: PageServer;
let unlisted: PageServer;
let bff: BffProcess;
/** URL of the service under a host name: browsers decide by the host what is the same site. */
let service: string;

beforeAll(async () => {
  browser = await startBrowser();
  emulator = await startTestEmulator();
  [listed, unlisted] = await Promise.all([startPageServer(), startPageServer()]);
  bff = await startTestBff(emulator.url, {
    // With Secure and the __Host- prefix: browsers treat localhost as secure, like https.
    COOKIE_KEYS: Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString("base64url"),
    ALLOWED_ORIGINS: `http://localhost:${listed.port}`,
  });
  service = bff.url.replace("127.0.0.1", "localhost");
});
beforeEach(async () => {
  emulator.reset();
  context = await browser.newContext();
});
afterEach(() => context.close());
afterAll(async () => {
  await bff.stop();
  await emulator.close();
  listed.close();
  unlisted.close();
  await browser.close();
});

async function openPage(origin: string): Promise<Page> {
  const page = await context.newPage();
  await page.goto(origin);
  return page;
}

interface Outcome {
  readonly status: number | "blocked";
  readonly body?: unknown;
  readonly rateLimit?: string | null;
}

/** Runs `fetch` in the page, with credentials. */
function fetchFrom(page: Page, url: string, init: object): Promise<Outcome> {
  return page.evaluate(
    async ({ url, init }) => {
      try {
        const answer = await fetch(url, { credentials: "include", ...init });
        const text = await answer.text();
        return {
          status: answer.status,
          body: text === "" ? undefined : (JSON.parse(text) as unknown),
          rateLimit: answer.headers.get("RateLimit"),
        };
      } catch {
        return { status: "blocked" as const };
      }
    },
    { url, init },
  );
}

/** Calls one of the page's own functions. */
function callOf(name: string, ...args: readonly string[]): string {
  return `${name}(${args.map((argument) => JSON.stringify(argument)).join(", ")})`;
}

const message = {
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body: '{"content":"from a page"}',
};

async function logIn(page: Page): Promise<void> {
  const headers = {
    Authorization: `Bearer ${await mintToken({ sub: "ann", sid: crypto.randomUUID() })}`,
  };
  const answer = await fetchFrom(page, `${service}/session`, { method: "POST", headers });
  expect(answer).toMatchObject({ status: 201, body: { subject: "ann" } });
}

test("a listed page logs in, sends, reads limits, cannot read the cookie, logs out, and is refused", async () => {
  const page = await openPage(`http://localhost:${listed.port}/`);
  await logIn(page);
  const [cookie] = await context.cookies(service);
  expect(cookie).toMatchObject({
    name: "__Host-uponai_session",
    httpOnly: true,
    secure: true,
    sameSite: "Strict",
    path: "/",
  });
  expect(await page.evaluate("document.cookie")).toBe("");

  const sent = await fetchFrom(page, `${service}/chat/${CHAT}/send`, message);
  expect(sent).toMatchObject({
    status: 201,
    body: { messages: [{ role: "assistant", content: "You said: from a page" }] },
    rateLimit: expect.stringContaining('"session";r='),
  });
  expect(await fetchFrom(page, `${service}/session`, {})).toMatchObject({
    status: 200,
    body: { via: "cookie" },
  });

  const stolen = `${cookie?.name}=${cookie?.value}`;
  expect(await fetchFrom(page, `${service}/session`, { method: "DELETE" })).toMatchObject({
    status: 204,
  });
  expect(await context.cookies(service)).toEqual([]);
  expect(await fetchFrom(page, `${service}/chat/${CHAT}/send`, message)).toMatchObject({
    status: 401,
    body: { code: "session_missing" },
  });
  // A copy of the cookie is useless as well.
  const replayed = await fetch(`${bff.url}/session`, { headers: { Cookie: stolen } });
  expect(replayed.status).toBe(401);
  expect(await replayed.json()).toMatchObject({ code: "session_revoked" });
  expect(emulator.messages()).toEqual([expect.objectContaining({ arrived: 1, taken: 1 })]);
});

test.each([
  ["another site", "http://127.0.0.1"],
  ["the same site on another port", "http://localhost"],
])("a page of %s that is not listed can neither send nor read", async (_name, host) => {
  await logIn(await openPage(`http://localhost:${listed.port}/`));
  const page = await openPage(`${host}:${unlisted.port}/`);

  // A script's request with credentials: the preflight stops it.
  expect(await fetchFrom(page, `${service}/chat/${CHAT}/send`, message)).toEqual({
    status: "blocked",
  });
  // A request that needs no preflight, and whose answer the script cannot read.
  expect(
    await fetchFrom(page, `${service}/chat/${CHAT}/send`, { method: "POST", body: message.body }),
  ).toEqual({ status: "blocked" });
  await fetchFrom(page, `${service}/chat/${CHAT}/send`, {
    method: "POST",
    mode: "no-cors",
    body: message.body,
  });
  // Reads are refused as well.
  expect(await fetchFrom(page, `${service}/session`, {})).toEqual({ status: "blocked" });

  // A form, which a page may submit to any origin. The name of its field makes the body valid JSON.
  const target = `${service}/chat/${CHAT}/send`;
  const answer = page.waitForResponse(target);
  await page.evaluate(callOf("submitForm", target, '{"content":"from a form","x":"', '"}'));
  const submitted = await answer;
  expect([401, 403]).toContain(submitted.status());

  // An image, which is a GET with cookies on any page.
  const other = await openPage(`${host}:${unlisted.port}/`);
  const loaded = await other.evaluate(callOf("showImage", `${service}/session`));
  expect(loaded).toBe("failed");
  expect(emulator.messages()).toEqual([]);
  expect(emulator.requests()).toEqual([]);
});

test("a form on the same site sends the cookie, and the cross-site check refuses it", async () => {
  await logIn(await openPage(`http://localhost:${listed.port}/`));
  const page = await openPage(`http://localhost:${unlisted.port}/`);
  const target = `${service}/chat/${CHAT}/send`;
  const answer = page.waitForResponse(target);
  await page.evaluate(callOf("submitForm", target, "content", "from a form"));
  const submitted = await answer;
  expect(submitted.status()).toBe(403);
  expect(await submitted.json()).toMatchObject({ code: "cross_site_request" });
  expect(emulator.requests()).toEqual([]);
});

test("below a path the cookie is for that path, and the element that is loaded there chats", async () => {
  const below = await startTestBff(emulator.url, {
    COOKIE_KEYS: Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString("base64url"),
    UPONAI_AGENT_ID: "agent",
    BASE_PATH: "/api/chat-bff",
  });
  try {
    const site = below.url.replace("127.0.0.1", "localhost");
    const page = await context.newPage();
    await page.route(`${site}/page`, (route) =>
      route.fulfill({
        contentType: "text/html",
        body: '<script type="module" src="/api/chat-bff/chat/element.js"></script><uponai-chat></uponai-chat>',
      }),
    );
    await page.goto(`${site}/page`);
    const headers = { Authorization: `Bearer ${await mintToken({ sub: "below" })}` };
    const login = await fetchFrom(page, "/api/chat-bff/session", { method: "POST", headers });
    expect(login.status).toBe(201);
    expect(await context.cookies(`${site}/api/chat-bff/session`)).toMatchObject([
      { name: "__Secure-uponai_session", path: "/api/chat-bff", httpOnly: true, secure: true },
    ]);
    expect(await context.cookies(`${site}/chat`)).toEqual([]);
    await page.getByRole("textbox").fill("from below");
    await page.getByRole("textbox").press("Enter");
    await page.getByText("You said: from below", { exact: true }).waitFor();
    const logout = await fetchFrom(page, "/api/chat-bff/session", { method: "DELETE" });
    expect(logout.status).toBe(204);
    expect(await context.cookies(`${site}/api/chat-bff/session`)).toEqual([]);
  } finally {
    await below.stop();
  }
});
