/** Pages with the built chat element, under a strict policy, and a chat that a test sets by hand. */
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

import type { Browser, BrowserContextOptions, Page } from "playwright-core";

/** The policy under which the element must work. */
const POLICY =
  "default-src 'none'; script-src 'self'; connect-src 'self'; require-trusted-types-for 'script'";

/**
 * Creates `window.script`: a chat whose snapshot a test sets by `script.set`, and which records what
 * the element asks of it.
 */
const SCRIPT = `
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => violations.push(event.violatedDirective));
window.events = [];
for (const name of ["ready", "send", "message", "status", "error", "session-required", "end"]) {
  document.addEventListener("uponai-" + name, ({ detail }) => events.push([name, detail.status ?? detail.error?.code ?? detail.text ?? detail.message?.parts[0].text]));
}
const listeners = new Set();
let snapshot = { id: "chat-1", status: "ready", messages: [], error: undefined, pending: undefined };
window.script = {
  calls: [],
  result: "answered",
  set(change) {
    snapshot = { ...snapshot, ...change };
    for (const listener of listeners) listener();
  },
  say(...texts) {
    const from = snapshot.messages.length;
    this.set({ messages: [...snapshot.messages, ...texts.map((text, index) => ({
      id: String(from + index),
      role: (from + index) % 2 === 0 ? "assistant" : "user",
      parts: [{ type: "text", text }],
    }))] });
  },
};
window.scripted = {
  get id() { return snapshot.id; },
  get status() { return snapshot.status; },
  get messages() { return snapshot.messages; },
  get error() { return snapshot.error; },
  get pending() { return snapshot.pending; },
  getSnapshot: () => snapshot,
  subscribe(listener) {
    listeners.add(listener);
    return () => listeners.delete(listener);
  },
  sendMessage: async ({ text }) => {
    script.calls.push("send " + text);
    return script.result;
  },
};
for (const name of ["retry", "reload", "end"]) {
  scripted[name] = async () => void script.calls.push(name);
}
for (const name of ["dismiss", "newChat"]) scripted[name] = () => void script.calls.push(name);
const element = document.querySelector("uponai-chat");
if (element !== null) element.chat = scripted;
`;

export interface ElementPages {
  /** Opens a page with this body; the element's `chat` is `window.scripted`. */
  open(body: string, options?: BrowserContextOptions): Promise<Page>;
  close(): Promise<void>;
}

/** Starts a server of pages with the built element. */
export async function startElementPages(browser: Browser): Promise<ElementPages> {
  const files: Readonly<Record<string, string>> = {
    // As the service does with it.
    "/element.js": readFileSync(new URL("../../dist/element.txt", import.meta.url), "utf8").replace(
      "/__BASE_PATH__",
      "",
    ),
    "/script.js": SCRIPT,
  };
  let html = "";
  const server = createServer(({ url = "" }, response) => {
    const file = files[url];
    response.setHeader("Content-Security-Policy", POLICY);
    response.setHeader("Content-Type", file === undefined ? "text/html" : "text/javascript");
    response.end(file ?? html);
  });
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  const { port } = server.address() as AddressInfo;
  return {
    async open(body, options = {}) {
      html = `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="color-scheme" content="light dark"><meta name="viewport" content="width=device-width"><title>page</title><body><main>${body}</main><footer><h1>Page</h1></footer>
<script src="/script.js"></script><script src="/element.js"></script><script src="/element.js"></script></body></html>`;
      const context = await browser.newContext({
        viewport: { width: 480, height: 640 },
        // Colours and places are final at once.
        reducedMotion: "reduce",
        ...options,
      });
      const page = await context.newPage();
      await page.goto(`http://127.0.0.1:${port}/`);
      return page;
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
