/**
 * The chat store of the browser package against the running service, the emulator's faults and a
 * proxy that cuts: each message is taken once, and its answer is in the list.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";

import {
  type Chat,
  ChatError,
  type ChatOptions,
  type Client,
  createChat,
  type Session,
  type Transcript,
} from "../../src/browser/index.ts";
import type { Fault } from "../../src/emulator/faults.ts";
import type { RunningEmulator } from "../../src/emulator/listen.ts";
import { startTestBff, startTestEmulator } from "../support/bff-fixture.ts";
import type { BffProcess } from "../support/bff-process.ts";
import { createTestChat, type TestChat } from "../support/chat-fixture.ts";
import { startCuttingProxy } from "../support/cutting-proxy.ts";

let emulator: RunningEmulator;
let bff: BffProcess;

beforeAll(async () => {
  emulator = await startTestEmulator();
  bff = await startTestBff(emulator.url, {
    UPSTREAM_TIMEOUT: "20s",
    RECOVERY_WINDOW: "2s",
    UPONAI_AGENT_ID: "agent",
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
});

/** The storage of a tab, which outlives a reload. */
function createStorage() {
  const stored = new Map<string, string>();
  return {
    stored,
    getItem: (name: string) => stored.get(name) ?? null,
    setItem: (name: string, value: string) => void stored.set(name, value),
    removeItem: (name: string) => void stored.delete(name),
  };
}

function openChat(chat: TestChat, options: ChatOptions = {}): Chat {
  return createChat({
    baseUrl: bff.url,
    chatId: chat.chatId,
    storage: createStorage(),
    token: async () => (await chat.credentials()).Authorization.slice("Bearer ".length),
    ...options,
  });
}

const refuse = () => {
  throw new Error("not allowed");
};

const transcript = (...contents: readonly string[]): Transcript => ({
  chatId: "chat-1",
  status: null,
  startedAt: null,
  endedAt: null,
  messages: contents.map((content) => ({ role: "assistant", content })),
});
const unused = () => Promise.reject(new Error("not expected"));

const session = (subject: string): Session => ({ subject, expiresAt: "2030-01-01T00:00:00Z" });

/** What a scripted client answers. */
const refusal = (code: "message_rejected" | "chat_ended", status: number) =>
  Promise.reject(new ChatError(code, { status, sent: "refused" }));
const answered = () => Promise.resolve({ messages: [], isRecovered: false, isReplayed: true });
const noSession = () =>
  Promise.reject(new ChatError("session_required", { status: 401, sent: "no" }));

/** A client without a service. */
const script = (more: Partial<Client>): Client => ({
  startChat: unused,
  sendMessage: unused,
  getChat: () => Promise.resolve(transcript()),
  endChat: unused,
  getSession: () => Promise.resolve(session("alice")),
  createSession: unused,
  deleteSession: unused,
  ...more,
});

/** The messages as `role: text`. */
function textsOf({ messages }: Pick<Chat, "messages">): readonly string[] {
  return messages.map(({ role, parts }) => `${role}: ${parts.map(({ text }) => text).join("")}`);
}

/** The owner of records of the scripted client. */
const OWNER = JSON.stringify([undefined, "alice"]);
/** What the emulator's chats begin with. */
const GREETING = "assistant: Hello, how can I help?";
const exchanged = (text: string) => [`user: ${text}`, `assistant: You said: ${text}`];

describe("against a fault of UponAI a message is answered, and taken once", () => {
  const faults: Readonly<Record<string, Fault>> = {
    "an answer that is lost": { kind: "reset-after" },
    "a connection that is reset before the message": { kind: "reset-before" },
    "a 500 after the message was taken": { kind: "taken-then-status", status: 500 },
    "an answer that is no JSON": { kind: "garbage" },
    "an answer that is too slow": { kind: "taken-then-delay", delayMs: 60_000 },
    "a 503 that names a time": { kind: "status", status: 503, retryAfter: "1" },
    "too many requests": { kind: "status", status: 429 },
  };

  test.each(Object.entries(faults))("%s", { timeout: 60_000 }, async (name, fault) => {
    const there = createTestChat(emulator);
    there.addFault(fault);
    const chat = openChat(there);
    const text = `over ${name}`;
    const result = await chat.sendMessage({ text });
    const { taken } = there.counts(text);
    if (result === "pending") {
      // A reset before the message looks like one after it: only the user can decide.
      expect(name).toBe("a connection that is reset before the message");
      expect(chat).toMatchObject({ status: "error", error: { sent: "unknown" } });
      expect(taken).toBe(0);
      return;
    }
    expect(result).toBe("answered");
    expect(textsOf(chat)).toEqual([GREETING, ...exchanged(text)]);
    expect(chat).toMatchObject({ status: "ready", error: undefined, pending: undefined });
    expect(taken).toBe(1);
  });
});

test("behind a proxy that cuts every request, a message is answered and sent once", async () => {
  const there = createTestChat(emulator);
  there.addFault({ delayMs: 8_000 });
  const proxy = await startCuttingProxy({ targets: [bff.url], cutMs: 2_000 });
  const chat = openChat(there, { baseUrl: proxy.url });
  const sending = chat.sendMessage({ text: "cut" });
  await expect.poll(() => chat.pending?.retry?.reason).toMatchObject({ code: "not_a_problem" });
  expect(chat.status).toBe("submitted");
  expect(textsOf(chat)).toEqual([GREETING, "user: cut"]);
  expect(await sending).toBe("answered");
  expect(textsOf(chat)).toEqual([GREETING, ...exchanged("cut")]);
  expect(proxy.cuts()).toBeGreaterThan(1);
  expect(there.counts("cut")).toEqual({ arrived: 1, taken: 1 });
  await proxy.close();
});

test("a chat without an id starts with its first message, and is there after a reload", async () => {
  const storage = createStorage();
  const owner = createTestChat(emulator);
  const options = { chatId: undefined, storage };
  const before = openChat(owner, options);
  before.subscribe(() => undefined);
  expect(before).toMatchObject({ id: undefined, status: "ready" });
  expect(storage.stored.size).toBe(0);
  expect(await before.sendMessage({ text: "first" })).toBe("answered");
  const { id } = before;
  expect(id).toBeDefined();
  expect(textsOf(before).slice(-2)).toEqual(exchanged("first"));

  const after = openChat(owner, options);
  after.subscribe(() => undefined);
  await expect.poll(() => after.status).toBe("ready");
  expect(after.id).toBe(id);
  expect(after.messages).toEqual(before.messages);
  expect(await after.sendMessage({ text: "second" })).toBe("answered");
  expect(textsOf(after).slice(-4)).toEqual([...exchanged("first"), ...exchanged("second")]);
});

describe("a reload in mid-message", () => {
  test("goes on with the same message, which is sent once", async () => {
    const there = createTestChat(emulator);
    const storage = createStorage();
    const before = openChat(there, { storage });
    expect(await before.sendMessage({ text: "earlier" })).toBe("answered");
    there.addFault({ kind: "taken-then-delay", delayMs: 3_000 });
    // The page is gone before the answer: nobody waits for this promise.
    void before.sendMessage({ text: "reloaded" });
    await expect.poll(() => there.counts("reloaded").taken).toBe(1);

    const after = openChat(there, { storage });
    const seen: (readonly string[])[] = [];
    after.subscribe(() => seen.push(textsOf(after)));
    // A message of the user does not overtake the one that is stored.
    expect(await after.sendMessage({ text: "too early" })).toBe("refused");
    await expect.poll(() => after.status).toBe("ready");
    expect(textsOf(after)).toEqual([GREETING, ...exchanged("earlier"), ...exchanged("reloaded")]);
    expect(seen).toContainEqual([GREETING, ...exchanged("earlier"), "user: reloaded"]);
    for (const texts of seen) {
      expect(texts.filter((text) => text === "user: reloaded").length).toBeLessThanOrEqual(1);
    }
    expect(there.counts("reloaded")).toEqual({ arrived: 1, taken: 1 });
    expect(there.counts("too early")).toEqual({ arrived: 0, taken: 0 });
    expect([...storage.stored.values()].join("")).not.toContain("reloaded");
  });

  test("shows another user nothing of it, and sends nothing", async () => {
    const there = createTestChat(emulator);
    const storage = createStorage();
    storage.setItem(
      `uponai-chat:${bff.url}:`,
      JSON.stringify({
        chatId: there.chatId,
        owner: JSON.stringify([undefined, there.subject]),
        pending: { text: "secret", key: "key", sinceMs: Date.now(), count: 0 },
        atMs: Date.now(),
      }),
    );
    const other = createTestChat(emulator);
    const after = openChat(other, { storage, chatId: undefined });
    const seen: string[] = [];
    after.subscribe(() => seen.push(...textsOf(after)));
    await expect.poll(() => storage.stored.size).toBe(0);
    await expect.poll(() => after.status).toBe("ready");
    expect(after.id).toBeUndefined();
    expect(seen).toEqual([]);
    expect(there.counts("secret").arrived).toBe(0);
  });

  test("forgets it after a day", async () => {
    const there = createTestChat(emulator);
    const storage = createStorage();
    storage.setItem(
      `uponai-chat:${bff.url}:${there.chatId}`,
      JSON.stringify({
        chatId: there.chatId,
        owner: JSON.stringify([undefined, there.subject]),
        pending: { text: "old", key: "old", sinceMs: 0, count: 0 },
        atMs: Date.now() - 86_400_001,
      }),
    );
    const chat = openChat(there, { storage });
    chat.subscribe(() => undefined);
    await expect.poll(() => chat.status).toBe("ready");
    expect(chat.pending).toBeUndefined();
    expect(there.counts("old").arrived).toBe(0);
  });
});

/** A chat of one user, the tab's storage, and the function that signs in the other user. */
async function exchange() {
  const [first, second] = [createTestChat(emulator), createTestChat(emulator)];
  let user = first;
  const storage = createStorage();
  const chat = openChat(first, {
    storage,
    chatId: undefined,
    token: async () => (await user.credentials()).Authorization.slice("Bearer ".length),
  });
  chat.subscribe(() => undefined);
  expect(await chat.sendMessage({ text: "of the first" })).toBe("answered");
  return { chat, first, second, storage, signIn: () => (user = second) };
}

describe("when another user signs in in this tab", () => {
  afterEach(() => {
    vi.unstubAllGlobals();
  });

  test("the page shows nothing of the first chat as soon as it is shown again", async () => {
    const page = new EventTarget();
    vi.stubGlobal("document", page);
    vi.stubGlobal("addEventListener", page.addEventListener.bind(page));
    for (const event of ["visibilitychange", "pageshow"]) {
      const { chat, storage, signIn } = await exchange();
      const shown = () => page.dispatchEvent(Object.assign(new Event(event), { persisted: true }));
      shown();
      expect(await chat.sendMessage({ text: "still the first" })).toBe("answered");
      expect(chat.messages).toHaveLength(5);
      signIn();
      shown();
      await expect.poll(() => chat.messages).toEqual([]);
      expect(chat).toMatchObject({ id: undefined, status: "ready" });
      expect(storage.stored.size).toBe(0);
    }
  });

  test("the owner is read once at a time, however often the page is shown", async () => {
    const page = new EventTarget();
    vi.stubGlobal("document", page);
    vi.stubGlobal("addEventListener", page.addEventListener.bind(page));
    const asked: ((session: Session) => void)[] = [];
    const client = script({
      getChat: () => Promise.resolve(transcript("hello")),
      getSession: () => new Promise((resolve) => asked.push(resolve)),
    });
    const chat = createChat({ client, chatId: "chat-1", storage: null });
    chat.subscribe(() => undefined);
    asked[0]?.(session("alice"));
    await expect.poll(() => chat.status).toBe("ready");
    for (let shown = 0; shown < 3; shown += 1) page.dispatchEvent(new Event("visibilitychange"));
    expect(asked).toHaveLength(2);
    asked[1]?.(session("alice"));
    // The next time it is read again.
    await expect
      .poll(() => {
        page.dispatchEvent(new Event("visibilitychange"));
        return asked.length;
      })
      .toBe(3);
    expect(textsOf(chat)).toEqual(["assistant: hello"]);
    asked[2]?.(session("bob"));
    await expect.poll(() => chat.messages).toEqual([]);
  });

  test("the next message goes to a chat of the second user, and is stored as theirs", async () => {
    const { chat, first, second, storage, signIn } = await exchange();
    const { id } = chat;
    signIn();
    // The service knows the chat, but not as this user's.
    expect(await chat.sendMessage({ text: "of nobody" })).toBe("refused");
    expect(chat.error?.code).toBe("chat_not_found");
    expect(await chat.sendMessage({ text: "of the second" })).toBe("answered");
    expect(chat.id).not.toBe(id);
    expect(textsOf(chat)).toEqual([GREETING, ...exchanged("of the second")]);
    const stored = [...storage.stored.values()].join("");
    expect(stored).toContain(second.subject);
    expect(stored).not.toContain(first.subject);
  });

  test("a new chat is stored as the second user's", async () => {
    const { chat, first, second, storage, signIn } = await exchange();
    signIn();
    chat.newChat();
    expect(await chat.sendMessage({ text: "new" })).toBe("answered");
    expect(textsOf(chat)).toEqual([GREETING, ...exchanged("new")]);
    const stored = [...storage.stored.values()].join("");
    expect(stored).toContain(second.subject);
    expect(stored).not.toContain(first.subject);
  });
});

describe("a chat that is mounted anew in mid-message", () => {
  test("joins the chat that is being started, and the message is sent once", async () => {
    const user = createTestChat(emulator);
    const storage = createStorage();
    const starts: string[] = [];
    const release = Promise.withResolvers<void>();
    const slowly: typeof fetch = async (address, init) => {
      const response = await fetch(address, init);
      if (address !== `${bff.url}/chat`) return response;
      starts.push(address);
      await release.promise;
      return response;
    };
    const mount = () => openChat(user, { storage, chatId: undefined, fetch: slowly });
    const before = mount();
    const unmount = before.subscribe(() => undefined);
    const sending = before.sendMessage({ text: "mounted" });
    await expect.poll(() => starts.length).toBe(1);
    unmount();
    const after = mount();
    after.subscribe(() => undefined);
    await expect.poll(() => after.pending?.text).toBe("mounted");
    release.resolve();
    expect(await sending).toBe("answered");
    await expect.poll(() => after.status).toBe("ready");
    expect(after.id).toBe(before.id);
    expect(textsOf(after)).toEqual([GREETING, ...exchanged("mounted")]);
    expect(starts).toHaveLength(1);
    expect(emulator.messages().filter(({ content }) => content === "mounted")).toMatchObject([
      { arrived: 1, taken: 1 },
    ]);
    expect([...storage.stored.values()].join("")).not.toContain("mounted");
  });

  test("and has begun a new chat, keeps what it stores when the old answer comes", async () => {
    const storage = createStorage();
    const answers: (() => void)[] = [];
    const client = script({
      startChat: () => Promise.resolve({ ...transcript(), chatId: `chat-${answers.length + 1}` }),
      sendMessage: () =>
        new Promise((resolve) =>
          answers.push(() => resolve({ messages: [], isRecovered: false, isReplayed: false })),
        ),
    });
    const before = createChat({ client, storage });
    const old = before.sendMessage({ text: "old" });
    await expect.poll(() => answers.length).toBe(1);
    const after = createChat({ client, storage });
    after.newChat();
    void after.sendMessage({ text: "new" });
    await expect.poll(() => answers.length).toBe(2);
    answers[0]?.();
    expect(await old).toBe("answered");
    const [record = ""] = storage.stored.values();
    expect(JSON.parse(record)).toMatchObject({ chatId: "chat-2", pending: { text: "new" } });
  });
});

test("two subscribers and two sends at once start one chat and send one message", async () => {
  const owner = createTestChat(emulator);
  const chat = openChat(owner, { chatId: undefined, start: "eager" });
  const created = () =>
    emulator.requests().filter(({ method, path }) => method === "POST" && path === "/api/chats")
      .length;
  const before = created();
  const leave = chat.subscribe(() => undefined);
  leave();
  chat.subscribe(() => undefined);
  const results = await Promise.all([
    chat.sendMessage({ text: "once" }),
    chat.sendMessage({ text: "twice" }),
  ]);
  expect(results).toEqual(["answered", "refused"]);
  expect(created()).toBe(before + 1);
  expect(textsOf(chat).slice(-2)).toEqual(exchanged("once"));
});

test("storage that throws does not stand in the way", async () => {
  const there = createTestChat(emulator);
  const chat = openChat(there, {
    storage: { getItem: refuse, setItem: refuse, removeItem: refuse },
  });
  expect(await chat.sendMessage({ text: "hi" })).toBe("answered");
});

test("a session that ends keeps the message, and the next session sends it once", async () => {
  const there = createTestChat(emulator);
  let isSignedIn = false;
  const chat = openChat(there, {
    token: async () =>
      isSignedIn ? (await there.credentials()).Authorization.slice("Bearer ".length) : undefined,
  });
  expect(await chat.sendMessage({ text: "kept" })).toBe("pending");
  expect(chat).toMatchObject({ status: "error", error: { code: "session_required", sent: "no" } });
  expect(textsOf(chat)).toEqual(["user: kept"]);
  isSignedIn = true;
  await chat.retry();
  expect(textsOf(chat)).toEqual([GREETING, ...exchanged("kept")]);
  expect(there.counts("kept")).toEqual({ arrived: 1, taken: 1 });
});

test("a refused message is taken out of the list, and the next one is sent", async () => {
  const there = createTestChat(emulator);
  const chat = openChat(there);
  there.addFault({ kind: "status", status: 422 });
  expect(await chat.sendMessage({ text: "refused" })).toBe("refused");
  expect(chat).toMatchObject({
    status: "error",
    error: { code: "message_rejected" },
  });
  expect(textsOf(chat)).toEqual([GREETING]);
  expect(await chat.sendMessage({ text: "  \n" })).toBe("refused");
  chat.dismiss();
  expect(chat).toMatchObject({ status: "ready", error: undefined });
  expect(await chat.sendMessage({ text: "taken" })).toBe("answered");
});

test("an ended chat says so, and a new chat follows", async () => {
  const owner = createTestChat(emulator);
  const chat = openChat(owner, { chatId: undefined });
  expect(await chat.sendMessage({ text: "one" })).toBe("answered");
  const { id } = chat;
  await chat.end();
  expect(chat.status).toBe("ended");
  expect(await chat.sendMessage({ text: "late" })).toBe("refused");
  chat.newChat();
  expect(chat).toMatchObject({ id: undefined, status: "ready", messages: [] });
  expect(await chat.sendMessage({ text: "two" })).toBe("answered");
  expect(chat.id).not.toBe(id);
  expect(textsOf(chat).slice(-2)).toEqual(exchanged("two"));
});

test("a foreign chat is an error, and the text is not lost", async () => {
  const there = createTestChat(emulator);
  expect(await openChat(there).sendMessage({ text: "mine" })).toBe("answered");
  const foreign = openChat(createTestChat(emulator), { chatId: there.chatId });
  expect(await foreign.sendMessage({ text: "theirs" })).toBe("refused");
  expect(foreign).toMatchObject({ status: "error", error: { code: "chat_not_found" } });
  expect(there.counts("theirs").arrived).toBe(0);
});

describe("with a scripted client", () => {
  test("an older reply never overwrites a newer one", async () => {
    const reads: ((chat: Transcript) => void)[] = [];
    const client = script({ getChat: () => new Promise((resolve) => reads.push(resolve)) });
    const chat = createChat({ client, chatId: "chat-1", storage: null });
    const reloads = [chat.reload(), chat.reload()];
    reads[1]?.(transcript("one", "two"));
    await reloads[1];
    reads[0]?.(transcript("one"));
    await reloads[0];
    expect(textsOf(chat)).toEqual(["assistant: one", "assistant: two"]);
  });

  test("a snapshot is a new object for each change only, and messages stay the same objects", async () => {
    const client = script({
      getChat: () => Promise.resolve(transcript("one")),
      sendMessage: () =>
        Promise.resolve({
          messages: [{ role: "assistant", content: "two" }],
          isRecovered: false,
          isReplayed: false,
        }),
    });
    const chat = createChat({ client, chatId: "chat-1", storage: null });
    await chat.reload();
    const before = chat.getSnapshot();
    expect(chat.getSnapshot()).toBe(before);
    expect(await chat.sendMessage({ text: "hi" })).toBe("answered");
    const after = chat.getSnapshot();
    expect(after).not.toBe(before);
    expect(after.messages).toHaveLength(3);
    expect(after.messages[0]).toBe(before.messages[0]);
  });

  test("a chat that is left takes nothing of what arrives later", async () => {
    const answers: (() => void)[] = [];
    const client = script({
      sendMessage: () =>
        new Promise((resolve) =>
          answers.push(() => resolve({ messages: [], isRecovered: false, isReplayed: false })),
        ),
    });
    const chat = createChat({ client, chatId: "chat-1", storage: null });
    const sending = chat.sendMessage({ text: "left" });
    await expect.poll(() => answers.length).toBe(1);
    chat.newChat();
    answers[0]?.();
    await sending;
    expect(chat).toMatchObject({
      id: undefined,
      status: "ready",
      messages: [],
      pending: undefined,
    });
  });

  test("a message whose key the service has forgotten is not sent again, and can be discarded", async () => {
    const storage = createStorage();
    const sinceMs = Date.now() - 86_400_001;
    const pending = { text: "old", key: "old", sinceMs, count: 0 };
    const record = { chatId: "chat-1", owner: OWNER, pending, atMs: Date.now() };
    storage.setItem("uponai-chat::", JSON.stringify(record));
    // Sending would fail the test: the script expects none.
    const chat = createChat({ client: script({}), storage });
    chat.subscribe(() => undefined);
    await expect.poll(() => chat.error?.code).toBe("outcome_unknown");
    await chat.retry();
    expect(chat).toMatchObject({ status: "error", pending: { text: "old" } });
    chat.dismiss();
    await expect.poll(() => chat.status).toBe("ready");
    expect(chat.pending).toBeUndefined();
  });

  test("a message that is discarded while the chat is loaded leaves a chat that goes on", async () => {
    const storage = createStorage();
    const pending = { text: "left", key: "key", sinceMs: Date.now(), count: 0 };
    const record = { chatId: "chat-1", owner: OWNER, pending, atMs: Date.now() };
    storage.setItem("uponai-chat::", JSON.stringify(record));
    let reads = 0;
    const client = script({
      getChat: () => {
        reads += 1;
        return reads === 1 ? new Promise(() => undefined) : Promise.resolve(transcript("one"));
      },
    });
    const chat = createChat({ client, storage });
    chat.subscribe(() => undefined);
    await expect.poll(() => reads).toBe(1);
    chat.dismiss();
    await expect.poll(() => chat.status).toBe("ready");
    expect(textsOf(chat)).toEqual(["assistant: one"]);
    expect([...storage.stored.values()].join("")).not.toContain("left");
  });

  test("a chat that is left while it is read is ready for the next one", async () => {
    const client = script({ getChat: () => new Promise(() => undefined) });
    const chat = createChat({ client, chatId: "chat-1", storage: null });
    void chat.reload();
    await expect.poll(() => chat.status).toBe("loading");
    chat.newChat();
    expect(chat.status).toBe("ready");
  });

  test("chats that store nothing do not wait for one another", async () => {
    const stuck = script({ startChat: () => new Promise(() => undefined) });
    void createChat({ client: stuck, storage: null }).sendMessage({ text: "stuck" });
    const client = script({
      startChat: () => Promise.resolve(transcript()),
      sendMessage: () => Promise.resolve({ messages: [], isRecovered: false, isReplayed: false }),
    });
    const chat = createChat({ client, storage: null });
    expect(await chat.sendMessage({ text: "other" })).toBe("answered");
  });

  test("a chat that is left while it starts does not start the next one twice", async () => {
    const starts: ((chat: Transcript) => void)[] = [];
    const client = script({
      startChat: ({ signal } = {}) =>
        new Promise((resolve, reject) => {
          starts.push(resolve);
          signal?.addEventListener("abort", () => reject(new Error("left")));
        }),
    });
    const chat = createChat({ client, start: "eager", storage: null });
    chat.subscribe(() => undefined);
    await expect.poll(() => starts.length).toBe(1);
    chat.newChat();
    await expect.poll(() => starts.length).toBe(2);
    // What becomes of the first start changes nothing for the second.
    chat.subscribe(() => undefined);
    starts[1]?.(transcript("hello"));
    await expect.poll(() => chat.status).toBe("ready");
    expect(starts).toHaveLength(2);
    expect(textsOf(chat)).toEqual(["assistant: hello"]);
  });

  test("an error before does not stand in the way of the next message", async () => {
    let count = 0;
    const client = script({
      sendMessage: () => ((count += 1) === 1 ? refusal("message_rejected", 422) : answered()),
      endChat: noSession,
    });
    const chat = createChat({ client, chatId: "chat-1", storage: null });
    expect(await chat.sendMessage({ text: "refused" })).toBe("refused");
    expect(await chat.sendMessage({ text: "next" })).toBe("answered");
    await chat.end();
    expect(chat.error?.code).toBe("session_required");
    expect(await chat.sendMessage({ text: "after an error of end" })).toBe("answered");
    expect(chat.status).toBe("ready");
  });

  test("a text that is refused after a reload or a retry stays until it is taken back", async () => {
    const storage = createStorage();
    const pending = { text: "mine", key: "key", sinceMs: Date.now(), count: 0 };
    const record = { chatId: "chat-1", owner: OWNER, pending, atMs: Date.now() };
    storage.setItem("uponai-chat::", JSON.stringify(record));
    const client = script({ sendMessage: () => refusal("chat_ended", 409) });
    const chat = createChat({ client, storage });
    chat.subscribe(() => undefined);
    await expect.poll(() => chat.error?.code).toBe("chat_ended");
    expect(chat.pending?.text).toBe("mine");
    chat.dismiss();
    expect(chat).toMatchObject({ status: "ended", pending: undefined });
  });

  test("a stored message that cannot be looked at is not replaced by the next one", async () => {
    const storage = createStorage();
    const pending = { text: "first", key: "first", sinceMs: Date.now(), count: 0 };
    const record = { chatId: "chat-1", owner: OWNER, pending, atMs: Date.now() };
    storage.setItem("uponai-chat::", JSON.stringify(record));
    let isSignedIn = false;
    const sent: string[] = [];
    const client = script({
      getSession: () => (isSignedIn ? script({}).getSession() : noSession()),
      sendMessage: (_chatId, { text }) => {
        sent.push(text);
        return answered();
      },
    });
    const chat = createChat({ client, storage });
    chat.subscribe(() => undefined);
    await expect.poll(() => chat.error?.code).toBe("session_required");
    expect(await chat.sendMessage({ text: "second" })).toBe("refused");
    isSignedIn = true;
    await chat.retry();
    expect(sent).toEqual(["first"]);
  });

  test.each([
    ["another user", { subject: "bob" }],
    ["the same subject of another workspace", { subject: "alice", workspace: "other" }],
  ])(
    "%s who signs in after a 401 gets nothing of the chat before, and sends nothing",
    async (_name, next) => {
      const storage = createStorage();
      let session: { subject: string; workspace?: string } = { subject: "alice" };
      const sent: string[] = [];
      const client = script({
        getSession: () => Promise.resolve({ ...session, expiresAt: "2030-01-01T00:00:00Z" }),
        getChat: () => Promise.resolve(transcript("of Alice")),
        sendMessage: (_chatId, { text }) => {
          sent.push(text);
          return sent.length === 2 ? noSession() : answered();
        },
      });
      const chat = createChat({ client, chatId: "chat-1", storage });
      expect(await chat.sendMessage({ text: "one" })).toBe("answered");
      expect(await chat.sendMessage({ text: "two" })).toBe("pending");
      session = next;
      await chat.retry();
      expect(chat).toMatchObject({ id: undefined, messages: [], pending: undefined });
      expect(sent).toEqual(["one", "two"]);
      expect([...storage.stored.values()].join("")).not.toContain("two");
    },
  );

  test("a failed read while a message is on its way is no error of the message", async () => {
    const answers: (() => void)[] = [];
    const client = script({
      endChat: noSession,
      sendMessage: () =>
        new Promise((resolve) =>
          answers.push(() => resolve({ messages: [], isRecovered: false, isReplayed: false })),
        ),
    });
    const chat = createChat({ client, chatId: "chat-1", storage: null });
    const sending = chat.sendMessage({ text: "on its way" });
    await expect.poll(() => answers.length).toBe(1);
    await chat.end();
    expect(chat).toMatchObject({ status: "submitted", error: undefined });
    answers[0]?.();
    expect(await sending).toBe("answered");
  });

  test("a first message is stored before its chat has started", async () => {
    const storage = createStorage();
    const client = script({ startChat: () => new Promise(() => undefined) });
    void createChat({ client, storage }).sendMessage({ text: "first words" });
    await expect.poll(() => [...storage.stored.values()].join("")).toContain("first words");
  });

  test("an unknown outcome keeps the message, and retry repeats it with the same key", async () => {
    const sent: { key: string | undefined; isRepeat: boolean | undefined }[] = [];
    const client = script({
      sendMessage: (_chatId, { key, isRepeat }) => {
        sent.push({ key, isRepeat });
        return sent.length === 1
          ? Promise.reject(new ChatError("outcome_unknown", { status: 504, sent: "unknown" }))
          : Promise.resolve({ messages: [], isRecovered: true, isReplayed: false });
      },
    });
    const chat = createChat({ client, chatId: "chat-1", storage: null });
    expect(await chat.sendMessage({ text: "doubt" })).toBe("pending");
    expect(chat).toMatchObject({ status: "error", pending: { text: "doubt" } });
    expect(await chat.sendMessage({ text: "another" })).toBe("refused");
    expect(chat.error?.code).toBe("outcome_unknown");
    await chat.retry();
    expect(chat).toMatchObject({ status: "ready", error: undefined, pending: undefined });
    expect(sent[1]?.key).toBe(sent[0]?.key);
    expect(sent.map(({ isRepeat }) => isRepeat)).toEqual([false, true]);
  });
});
