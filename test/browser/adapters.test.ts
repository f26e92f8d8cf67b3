/** The adapters for React and the AI SDK, with the real packages. */
import { AbstractChat, type ChatState, type ChatStatus, type UIMessage } from "ai";
import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";

import { UponaiChatTransport } from "../../src/browser/ai-sdk.ts";
import { ChatError } from "../../src/browser/index.ts";
import type { RunningEmulator } from "../../src/emulator/listen.ts";
import { startTestBff, startTestEmulator } from "../support/bff-fixture.ts";
import type { BffProcess } from "../support/bff-process.ts";
import { startBrowser } from "../support/browser.ts";
import { bundle } from "../support/browser-bundle.ts";
import { createTestChat, type TestChat } from "../support/chat-fixture.ts";

let emulator: RunningEmulator;
let bff: BffProcess;

beforeAll(async () => {
  emulator = await startTestEmulator();
  bff = await startTestBff(emulator.url, { UPONAI_AGENT_ID: "agent", RECOVERY_WINDOW: "2s" });
});
afterAll(async () => {
  await bff.stop();
  await emulator.close();
});

const tokenOf = async (chat: TestChat) =>
  (await chat.credentials()).Authorization.slice("Bearer ".length);

/** Number of chats that were started at UponAI. */
const started = () =>
  emulator.requests().filter(({ method, path }) => method === "POST" && path === "/api/chats")
    .length;

/** A chat of the AI SDK, as its framework packages build one. */
class SdkChat extends AbstractChat<UIMessage> {
  constructor(id: string, transport: UponaiChatTransport, messages: UIMessage[] = []) {
    let status: ChatStatus = "ready";
    const state: ChatState<UIMessage> = {
      get status() {
        return status;
      },
      set status(value) {
        status = value;
      },
      error: undefined,
      messages,
      pushMessage: (message) => void state.messages.push(message),
      popMessage: () => void state.messages.pop(),
      replaceMessage: (index, message) => void (state.messages[index] = message),
      snapshot: (value) => value,
    };
    super({ id, transport, state });
  }

  texts(): readonly string[] {
    return this.messages.map(
      ({ role, parts }) =>
        `${role}: ${parts.map((part) => (part.type === "text" ? part.text : "")).join("")}`,
    );
  }
}

const createTransport = (there: TestChat, storage: Map<string, string> = new Map()) =>
  new UponaiChatTransport({
    baseUrl: bff.url,
    token: () => tokenOf(there),
    chatId: there.chatId,
    storage: {
      getItem: (name) => storage.get(name) ?? null,
      setItem: (name, value) => void storage.set(name, value),
      removeItem: (name) => void storage.delete(name),
    },
  });

describe("the AI SDK", () => {
  test.each([
    ["no fault", undefined],
    ["a lost answer", { kind: "reset-after" }],
    ["a busy UponAI", { kind: "status", status: 503, retryAfter: "1" }],
  ] as const)("sends a message once over %s", async (name, fault) => {
    const there = createTestChat(emulator);
    if (fault !== undefined) there.addFault(fault);
    const chat = new SdkChat("sdk", createTransport(there));
    await chat.sendMessage({ text: name });
    expect(chat.error).toBeUndefined();
    expect(chat.texts()).toEqual([`user: ${name}`, `assistant: You said: ${name}`]);
    expect(there.counts(name).taken).toBe(1);
  });

  test("regenerate is a repeat of the same message, which is not sent again", async () => {
    const there = createTestChat(emulator);
    const chat = new SdkChat("sdk", createTransport(there));
    await chat.sendMessage({ text: "again" });
    await chat.regenerate();
    expect(chat.texts()).toEqual(["user: again", "assistant: You said: again"]);
    expect(there.counts("again")).toEqual({ arrived: 1, taken: 1 });
  });

  test("regenerate does not send a message whose key the service has forgotten", async () => {
    const there = createTestChat(emulator);
    const old: UIMessage = { id: "old", role: "user", parts: [{ type: "text", text: "old" }] };
    const chat = new SdkChat("sdk", createTransport(there), [old]);
    await chat.regenerate();
    expect(chat.error).toMatchObject({ code: "outcome_unknown" });
    expect(there.counts("old")).toEqual({ arrived: 0, taken: 0 });
  });

  test("chats with equal message ids, and ids of any characters, have keys of their own", async () => {
    const there = createTestChat(emulator);
    const transport = createTransport(there);
    for (const [index, id] of ["one", "two", "\ud800 ü"].entries()) {
      const chat = new SdkChat(id, transport);
      await chat.sendMessage({ text: `text ${index}` });
      expect(chat.error).toBeUndefined();
    }
    const ask = (chatId: string) =>
      transport.sendMessages({
        trigger: "submit-message",
        chatId,
        messageId: undefined,
        messages: [{ id: "same", role: "user", parts: [{ type: "text", text: `of ${chatId}` }] }],
        abortSignal: undefined,
      });
    await ask("one");
    await ask("two");
    expect(there.counts("of one")).toEqual({ arrived: 1, taken: 1 });
    expect(there.counts("of two")).toEqual({ arrived: 1, taken: 1 });
  });

  test("an error is a ChatError with its code", async () => {
    const there = createTestChat(emulator);
    there.addFault({ kind: "status", status: 422 });
    const chat = new SdkChat("sdk", createTransport(there));
    await chat.sendMessage({ text: "refused" });
    expect(chat.status).toBe("error");
    expect(chat.error).toBeInstanceOf(ChatError);
    expect(chat.error).toMatchObject({ code: "message_rejected", sent: "refused" });
  });

  test("a reload resumes the pending message of this user, and of no other", async () => {
    const there = createTestChat(emulator);
    const storage = new Map<string, string>();
    there.addFault({ kind: "taken-then-delay", delayMs: 2_000 });
    const before = new SdkChat("sdk", createTransport(there, storage));
    void before.sendMessage({ text: "resumed" });
    await expect.poll(() => there.counts("resumed").taken).toBe(1);

    const foreign = new Map(storage);
    const other = new SdkChat("sdk", createTransport(createTestChat(emulator), foreign));
    await other.resumeStream();
    expect(other.texts()).toEqual([]);
    expect(foreign.size).toBe(0);

    const after = new SdkChat("sdk", createTransport(there, storage));
    await after.resumeStream();
    expect(after.texts()).toEqual(["assistant: You said: resumed"]);
    expect(there.counts("resumed")).toEqual({ arrived: 1, taken: 1 });
    // There is nothing left to resume.
    await after.resumeStream();
    expect(after.texts()).toHaveLength(1);
  });

  test("a chat that has ended is left, and the next message starts another", async () => {
    const owner = createTestChat(emulator);
    const transport = new UponaiChatTransport({
      baseUrl: bff.url,
      token: () => tokenOf(owner),
      storage: null,
    });
    const chat = new SdkChat("ended", transport);
    await chat.sendMessage({ text: "before the end" });
    emulator.addFault({ kind: "status", status: 409 }, { operation: "completion", times: 1 });
    await chat.sendMessage({ text: "at the end" });
    expect(chat.error).toMatchObject({ code: "chat_ended" });
    await chat.sendMessage({ text: "after the end" });
    expect(chat.texts().at(-1)).toBe("assistant: You said: after the end");
  });

  test("another user of the page gets a chat of their own", async () => {
    const first = createTestChat(emulator);
    let user = first;
    const storage = new Map<string, string>();
    const transport = new UponaiChatTransport({
      baseUrl: bff.url,
      token: () => tokenOf(user),
      storage: {
        getItem: (name) => storage.get(name) ?? null,
        setItem: (name, value) => void storage.set(name, value),
        removeItem: (name) => void storage.delete(name),
      },
    });
    const before = started();
    await new SdkChat("shared", transport).sendMessage({ text: "of the first" });
    const [record = ""] = storage.values();
    user = createTestChat(emulator);
    const chat = new SdkChat("shared", transport);
    await chat.sendMessage({ text: "of the second" });
    expect(chat.texts().at(-1)).toBe("assistant: You said: of the second");
    expect(started()).toBe(before + 2);
    const [after = ""] = storage.values();
    expect(JSON.parse(after)).toMatchObject({ owner: expect.stringContaining(user.subject) });
    expect(after).not.toContain((JSON.parse(record) as { chatId: string }).chatId);
  });

  test("each chat of the SDK starts its own chat, once", async () => {
    const owner = createTestChat(emulator);
    const transport = new UponaiChatTransport({
      baseUrl: bff.url,
      token: () => tokenOf(owner),
      storage: null,
    });
    const before = started();
    const one = new SdkChat("one", transport);
    await one.sendMessage({ text: "first" });
    await one.sendMessage({ text: "second" });
    await new SdkChat("two", transport).sendMessage({ text: "first" });
    expect(started()).toBe(before + 2);
  });
});

/** A page whose chat has these options. */
const APP = (chat: string) => `
  import { StrictMode } from "react";
  import { createRoot } from "react-dom/client";
  import { renderToString } from "react-dom/server";
  import { useChat } from "./react.ts";
  function App() {
    const { messages, status, sendMessage } = useChat(${chat});
    return (
      <main>
        <output>{status}</output>
        <ol>{messages.map(({ id, parts }) => <li key={id}>{parts.map(({ text }) => text)}</li>)}</ol>
        <button onClick={() => void sendMessage({ text: "from React" })}>Send</button>
      </main>
    );
  }
  globalThis.html = renderToString(<App />);
  createRoot(document.body).render(<StrictMode><App /></StrictMode>);
`;

describe("React", () => {
  let browser: Browser;
  let page: Page;

  beforeAll(async () => {
    browser = await startBrowser();
  });
  beforeEach(async () => {
    page = await browser.newPage();
  });
  afterEach(() => page.close());
  afterAll(() => browser.close());

  /** Runs the code on an empty page; returns the list of what it writes to the console as errors. */
  async function openPage(code: string): Promise<readonly string[]> {
    const errors: string[] = [];
    page.on("console", (message) => {
      if (message.type() === "error" || message.type() === "warning") errors.push(message.text());
    });
    // The page and the service have one origin, as behind a reverse proxy.
    await page.route(`${bff.url}/page`, (route) =>
      route.fulfill({ contentType: "text/html", body: "<!doctype html><title>React</title>" }),
    );
    await page.goto(`${bff.url}/page`);
    await page.evaluate(`{${code}}`);
    return errors;
  }

  test("a chat in StrictMode starts once and sends once, and a server renders it", async () => {
    const owner = createTestChat(emulator);
    const before = started();
    const app = await bundle(
      APP(`{ start: "eager", token: ${JSON.stringify(await tokenOf(owner))} }`),
    );
    const errors = await openPage(app);
    await expect
      .poll(() => page.locator("li").allTextContents())
      .toEqual(["Hello, how can I help?"]);
    await page.getByRole("button", { name: "Send" }).click();
    await expect
      .poll(() => page.locator("li").allTextContents())
      .toEqual(["Hello, how can I help?", "from React", "You said: from React"]);
    expect(await page.evaluate("html")).toContain("<output>ready</output>");
    expect(started()).toBe(before + 1);
    expect(emulator.messages().filter(({ content }) => content === "from React")).toMatchObject([
      { arrived: 1, taken: 1 },
    ]);
    expect(errors).toEqual([]);
  });

  test("a component that is mounted anew in mid-message goes on, and the message is sent once", async () => {
    const owner = createTestChat(emulator);
    const token = await tokenOf(owner);
    const app = await bundle(`
      import { StrictMode, useState } from "react";
      import { createRoot } from "react-dom/client";
      import { useChat } from "./react.ts";
      function Chat() {
        const { messages, sendMessage } = useChat({ token: ${JSON.stringify(token)} });
        return (
          <main>
            {messages.map(({ id, parts }) => <p key={id}>{parts.map(({ text }) => text)}</p>)}
            <button onClick={() => void sendMessage({ text: "mounted in React" })}>Send</button>
          </main>
        );
      }
      function App() {
        const [key, setKey] = useState(0);
        return <><Chat key={key} /><button onClick={() => setKey(1)}>Mount anew</button></>;
      }
      createRoot(document.body).render(<StrictMode><App /></StrictMode>);
    `);
    await openPage(app);
    const before = started();
    const { promise: release, resolve } = Promise.withResolvers<void>();
    await page.route(`${bff.url}/chat`, async (route) => {
      const response = await route.fetch();
      await release;
      await route.fulfill({ response });
    });
    await page.getByRole("button", { name: "Send" }).click();
    await expect.poll(() => started()).toBe(before + 1);
    await page.getByRole("button", { name: "Mount anew" }).click();
    await page.getByText("mounted in React", { exact: true }).waitFor();
    resolve();
    await expect
      .poll(() => page.locator("p").allTextContents())
      .toEqual(["Hello, how can I help?", "mounted in React", "You said: mounted in React"]);
    expect(started()).toBe(before + 1);
    expect(
      emulator.messages().filter(({ content }) => content === "mounted in React"),
    ).toMatchObject([{ arrived: 1, taken: 1 }]);
  });

  // React sets neither properties nor events on an element that a server has rendered; a ref does.
  test.each([
    [
      "by properties",
      "createRoot(document.body).render(<App />);",
      "token={token} onuponai-message={hear}",
    ],
    [
      "by a ref, also where a server has rendered it",
      "document.body.innerHTML = renderToString(<App />); hydrateRoot(document.body, <App />);",
      `ref={(element) => {
        if (element === null) return;
        element.token = token;
        element.addEventListener("uponai-message", hear);
      }}`,
    ],
  ])("the element in JSX takes its token and is heard %s", async (_, render, attribute) => {
    const owner = createTestChat(emulator);
    const app = await bundle(`
      import { createRoot, hydrateRoot } from "react-dom/client";
      import { renderToString } from "react-dom/server";
      import { UponaiChatElement } from "./element.ts";
      globalThis.defined = UponaiChatElement;
      globalThis.heard = [];
      const token = async () => ${JSON.stringify(await tokenOf(owner))};
      const hear = ({ detail }) => heard.push(detail.message.parts[0].text);
      const App = () => <uponai-chat heading="Ask us" ${attribute} />;
      ${render}
    `);
    const errors = await openPage(app);
    const input = page.getByRole("textbox");
    await input.fill("from JSX");
    await input.press("Enter");
    await page.getByText("You said: from JSX", { exact: true }).waitFor();
    expect(await page.locator("uponai-chat").getAttribute("heading")).toBe("Ask us");
    expect(await page.evaluate("heard")).toContain("You said: from JSX");
    expect(errors).toEqual([]);
  });

  test("useChat of the AI SDK sends once and shows the answer", async () => {
    const owner = createTestChat(emulator);
    owner.addFault({ kind: "reset-after" });
    const token = await tokenOf(owner);
    const app = await bundle(`
      import { useChat } from "@ai-sdk/react";
      import { StrictMode } from "react";
      import { createRoot } from "react-dom/client";
      import { UponaiChatTransport } from "./ai-sdk.ts";
      const transport = new UponaiChatTransport(${JSON.stringify({ token, chatId: owner.chatId })});
      function App() {
        const { messages, sendMessage } = useChat({ id: "support", transport, resume: true });
        return (
          <main>
            {messages.map(({ id, parts }) => <p key={id}>{parts.map((part) => part.text)}</p>)}
            <button onClick={() => void sendMessage({ text: "by the SDK" })}>Send</button>
          </main>
        );
      }
      createRoot(document.body).render(<StrictMode><App /></StrictMode>);
    `);
    await openPage(app);
    await page.getByRole("button", { name: "Send" }).click();
    await expect
      .poll(() => page.locator("p").allTextContents(), { timeout: 20_000 })
      .toEqual(["by the SDK", "You said: by the SDK"]);
    expect(owner.counts("by the SDK")).toEqual({ arrived: 1, taken: 1 });
  });
});
