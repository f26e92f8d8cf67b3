/**
 * The documented configuration files of nginx, HAProxy and Caddy, run as they are with the real
 * programs: an answer that takes longer than the proxy waits, with a bounded wait and without.
 */
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

import type { RunningEmulator } from "../../src/emulator/listen.ts";
import { startTestBff, startTestEmulator } from "../support/bff-fixture.ts";
import type { BffProcess } from "../support/bff-process.ts";
import { startBrowser } from "../support/browser.ts";
import { createTestChat, tell } from "../support/chat-fixture.ts";
import { sendPatiently } from "../support/patient-client.ts";
import { type ProxyName, type RealProxy, startProxy } from "../support/real-proxies.ts";

/** The documented 90 s and an answer that takes longer, scaled down. */
const TIMEOUT_SECONDS = 3;
const DELAY_MS = 8_000;

let emulator: RunningEmulator;
let bff: BffProcess;
let servicePort: number;
let browser: Browser;

beforeAll(async () => {
  browser = await startBrowser();
  emulator = await startTestEmulator();
  bff = await startTestBff(emulator.url, { TRUST_PROXY: "1", LIMIT_SESSION: "off" });
  servicePort = Number(new URL(bff.url).port);
});
afterAll(async () => {
  await browser.close();
  await bff.stop();
  await emulator.close();
});

async function behind<Result>(
  starting: Promise<RealProxy>,
  use: (url: string) => Promise<Result>,
): Promise<Result> {
  const proxy = await starting;
  try {
    return await use(proxy.url);
  } finally {
    await proxy.stop();
  }
}

const answerTo = (content: string) =>
  JSON.stringify({ messages: [{ role: "assistant", content: `You said: ${content}` }] });

describe.concurrent.each<ProxyName>(["nginx", "haproxy", "caddy"])("%s", (name) => {
  test("as documented waits for a slow answer, and the service sees the address of the client", async () => {
    const chat = createTestChat(emulator);
    chat.addFault({ delayMs: DELAY_MS });
    await behind(startProxy(name, { servicePort }), async (url) => {
      expect(await tell(chat.send(url, "slow", { key: "k" }))).toMatchObject({
        status: 201,
        text: answerTo("slow"),
      });
    });
    // The client's own header does not choose its address.
    const limited = await startTestBff(emulator.url, { TRUST_PROXY: "1", LIMIT_IP: "2/1h" });
    const port = Number(new URL(limited.url).port);
    await behind(startProxy(name, { servicePort: port }), async (url) => {
      const statuses: number[] = [];
      for (const spoofed of ["198.51.100.1", "198.51.100.2", "198.51.100.3"]) {
        const answer = await fetch(`${url}/chat/${chat.chatId}/send`, {
          method: "POST",
          headers: {
            ...(await chat.credentials()),
            "Content-Type": "application/json",
            "X-Forwarded-For": spoofed,
          },
          body: '{"content":"hi"}',
        });
        statuses.push(answer.status);
      }
      expect(statuses).toEqual([201, 201, 429]);
    });
    await limited.stop();
  });

  test("with a shorter time-out cuts the request, and a bounded wait gets the answer all the same", async () => {
    const [plain, bounded] = [createTestChat(emulator), createTestChat(emulator)];
    for (const chat of [plain, bounded]) chat.addFault({ delayMs: DELAY_MS });
    const shorter = { servicePort, timeoutSeconds: TIMEOUT_SECONDS };
    await behind(startProxy(name, shorter), async (url) => {
      const cutting = plain.send(url, "plain", { key: "patient" });
      const waiting = sendPatiently(bounded, url, "long", TIMEOUT_SECONDS - 1);
      const cut = await cutting;
      expect(cut.status).toBe(504);
      // It is the proxy's own answer, not a problem of the service.
      expect(cut.headers.get("content-type") ?? "").not.toContain("json");
      const answer = await waiting;
      expect(answer).toMatchObject({ status: 201, text: answerTo("long") });
      expect(answer.seen).toMatchObject({ html: 0, broken: 0 });
      expect(answer.seen["202"]).toBeGreaterThan(1);
      // The message that was cut has gone on, too.
      const again = await sendPatiently(plain, url, "plain", TIMEOUT_SECONDS - 1);
      expect(again).toMatchObject({ status: 201, text: answerTo("plain") });
    });
    expect(plain.counts("plain")).toEqual({ arrived: 1, taken: 1 });
    expect(bounded.counts("long")).toEqual({ arrived: 1, taken: 1 });
  });

  test("with a shorter time-out: the chat element shows the answer, and the message is sent once", async () => {
    const chat = createTestChat(emulator);
    chat.addFault({ delayMs: DELAY_MS });
    const { Authorization } = await chat.credentials();
    await behind(
      startProxy(name, { servicePort, timeoutSeconds: TIMEOUT_SECONDS }),
      async (url) => {
        const page = await browser.newPage();
        const cuts: number[] = [];
        page.on("response", (response) => {
          if (response.url().endsWith("/send")) cuts.push(response.status());
        });
        await page.route(`${url}/page`, (route) =>
          route.fulfill({
            contentType: "text/html",
            body: `<uponai-chat chat-id="${chat.chatId}"></uponai-chat><script src="/chat/element.js"></script>`,
          }),
        );
        await page.goto(`${url}/page`);
        const token = Authorization.slice("Bearer ".length);
        await page.evaluate(`document.querySelector("uponai-chat").token = "${token}"`);
        await page.getByRole("textbox").fill("patient page");
        await page.getByRole("textbox").press("Enter");
        await page.getByText("You said: patient page", { exact: true }).waitFor();
        expect(cuts).toContain(504);
        await page.close();
      },
    );
    expect(chat.counts("patient page")).toEqual({ arrived: 1, taken: 1 });
  });
});

test.each([
  ["passes on", "proxy_pass http://uponai_bff;", "false"],
  ["removes", "proxy_pass http://uponai_bff/;", "true"],
])("nginx that %s the base path, as documented", async (_, pass, BASE_PATH_STRIPPED) => {
  const basePath = "/api/chat-bff";
  const below = await startTestBff(emulator.url, {
    TRUST_PROXY: "1",
    UPONAI_AGENT_ID: "agent",
    BASE_PATH: basePath,
    BASE_PATH_STRIPPED,
  });
  const proxy = startProxy("nginx", {
    servicePort: Number(new URL(below.url).port),
    basePath,
    edits: [
      ["location / {", `location ${basePath}/ {`],
      ["proxy_pass http://uponai_bff;", pass],
    ],
  });
  await behind(proxy, async (url) => {
    const user = createTestChat(emulator);
    const started = await fetch(`${url}${basePath}/chat`, {
      method: "POST",
      headers: await user.credentials(),
    });
    expect(started.status).toBe(201);
    const location = started.headers.get("location") ?? "";
    expect(location).toContain(`${basePath}/chat/`);
    const read = await fetch(new URL(location, url), { headers: await user.credentials() });
    expect(read.status).toBe(200);
    // The site's own pages stay the site's.
    expect((await fetch(`${url}/chat`)).headers.get("x-request-id")).toBeNull();
  });
  await below.stop();
});
