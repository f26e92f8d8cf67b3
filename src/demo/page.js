// Script of the demo page: shows in plain JavaScript how a frontend uses uponai-bff.
import { findPending, isSendKey, resumeMessage, sendMessage } from "./message-client.js";

const messages = document.querySelector("#messages");
const form = document.querySelector("#form");
const content = document.querySelector("#content");
const sendButton = document.querySelector("#send");
const againButton = document.querySelector("#again");
const status = document.querySelector("#status");

const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Repeats a request that may be repeated, until the service itself answers it. */
async function askService(path, init) {
  for (let pauseMs = 500; ; pauseMs = Math.min(pauseMs * 2, 10_000)) {
    const response = await fetch(path, init).catch(() => undefined);
    // Anything but JSON is a page of a proxy.
    const isJson = response?.headers.get("Content-Type")?.includes("json");
    const body = isJson ? await response.json().catch(() => undefined) : undefined;
    if (body !== undefined && response.status < 500) return { ok: response.ok, body };
    status.textContent = "The service cannot be reached. Trying again …";
    await wait(pauseMs);
  }
}

// This replaces the login of a real site, whose backend signs the token.
const { body: login } = await askService("/demo/session", { method: "POST" });

// Exchanges the token for an HttpOnly cookie, which no script can read.
await askService("/session", {
  method: "POST",
  headers: { Authorization: `Bearer ${login.token}` },
});

function show(role, text) {
  const item = document.createElement("li");
  item.className = role;
  const speaker = document.createElement("strong");
  speaker.textContent = role === "user" ? "You: " : "Agent: ";
  item.append(speaker, text);
  messages.append(item);
  item.scrollIntoView({ block: "end" });
}

function showAll(transcript) {
  messages.replaceChildren();
  for (const message of transcript) show(message.role, message.content);
}

/** Opens the chat that this tab had before a reload, with its messages, or a new one. */
async function openChat() {
  const known = sessionStorage.getItem("chatId");
  const chat = known === null ? undefined : await askService(`/chat/${known}`);
  if (chat?.ok) {
    showAll(chat.body.messages);
    return known;
  }
  // A page may set only what the operator lists (CHAT_METADATA, CHAT_VARIABLES). The agent gets the
  // user's name from the session (SESSION_VARIABLES), which no script can change.
  const { body: started } = await askService("/chat", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ metadata: { page: location.pathname } }),
  });
  sessionStorage.setItem("chatId", started.chatId);
  showAll(started.messages);
  return String(started.chatId);
}

/** Shows what comes of a message, and tells whether it was answered. `answering` is its promise. */
async function follow(text, answering) {
  sendButton.disabled = true;
  againButton.hidden = true;
  status.textContent = "The agent is writing …";
  try {
    const { messages: answer, recovered } = await answering;
    for (const message of answer) show(message.role, message.content);
    status.textContent = recovered ? "The answer was lost on the way and was recovered." : "";
    return true;
  } catch (error) {
    // `detail` of a problem says what to do.
    status.textContent = error.message;
    if (error.isPending) againButton.hidden = false;
    // Refused: the user can change the text and send it again.
    else if (content.value === "") content.value = text;
    return false;
  } finally {
    sendButton.disabled = false;
    content.focus();
  }
}

const chatId = await openChat();
status.textContent = "";

// A reload has interrupted a message: its key and text are still there. The transcript may have the
// message already, and even its answer.
async function goOn() {
  const pending = findPending(chatId);
  const { body: before } = await askService(`/chat/${chatId}`);
  const said = before.messages ?? [];
  const asked = said.findLastIndex((message) => message.role === "user");
  const isThere = said[asked]?.content === pending.content;
  showAll(isThere ? said.slice(0, asked) : said);
  show("user", pending.content);
  if (!(await follow(pending.content, resumeMessage(chatId)))) return;
  const { body: after } = await askService(`/chat/${chatId}`);
  if (after.messages !== undefined) showAll(after.messages);
}

againButton.addEventListener("click", goOn);

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = content.value;
  if (text.trim() === "" || sendButton.disabled) return;
  content.value = "";
  show("user", text);
  await follow(text, sendMessage(chatId, text));
});

content.addEventListener("keydown", (event) => {
  if (!isSendKey(event)) return;
  event.preventDefault();
  form.requestSubmit();
});

if (findPending(chatId) !== undefined) await goOn();
