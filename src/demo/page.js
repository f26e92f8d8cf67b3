// Script of the demo page: shows in plain JavaScript how a frontend uses uponai-bff.

const messages = document.querySelector("#messages");
const form = document.querySelector("#form");
const content = document.querySelector("#content");
const button = document.querySelector("button");
const status = document.querySelector("#status");

// This replaces the login of a real site, whose backend signs the token.
const { token } = await (await fetch("/demo/session", { method: "POST" })).json();

// Exchanges the token for an HttpOnly cookie, which no script can read.
await fetch("/session", { method: "POST", headers: { Authorization: `Bearer ${token}` } });

function show(role, text) {
  const item = document.createElement("li");
  item.className = role;
  const speaker = document.createElement("strong");
  speaker.textContent = role === "user" ? "You: " : "Agent: ";
  item.append(speaker, text);
  messages.append(item);
  item.scrollIntoView({ block: "end" });
}

/** Opens the chat that this tab had before a reload, with its messages, or a new one. */
async function openChat() {
  const known = sessionStorage.getItem("chatId");
  const chat = known === null ? undefined : await fetch(`/chat/${known}`);
  if (chat?.ok) {
    const { messages: transcript } = await chat.json();
    for (const message of transcript) show(message.role, message.content);
    return known;
  }
  // A page may set only what the operator lists (CHAT_METADATA, CHAT_VARIABLES). The agent gets the
  // user's name from the session (SESSION_VARIABLES), which no script can change.
  const response = await fetch("/chat", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ metadata: { page: location.pathname } }),
  });
  const started = await response.json();
  sessionStorage.setItem("chatId", started.chatId);
  for (const message of started.messages) show(message.role, message.content);
  return String(started.chatId);
}

/** Codes after which repeating the same request with the same key is safe and useful. */
const REPEATABLE = new Set([
  "request_in_progress",
  "outcome_unknown",
  "upstream_error",
  "upstream_timeout",
  "upstream_malformed",
]);
const ATTEMPTS_MAX = 4;

const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Sends one message. With the same key, repeated requests are one message. */
async function send(text) {
  const key = crypto.randomUUID();
  for (let attempt = 1; ; attempt += 1) {
    const last = attempt === ATTEMPTS_MAX;
    const response = await fetch(`/chat/${chatId}/send`, {
      method: "POST",
      headers: { "Content-Type": "application/json", "Idempotency-Key": key },
      body: JSON.stringify({ content: text }),
    }).catch(() => undefined);
    if (response === undefined) {
      if (last) return "The service cannot be reached.";
      await wait(500 * 2 ** attempt);
      continue;
    }
    const answer = await response.json();
    if (response.ok) {
      for (const message of answer.messages) show(message.role, message.content);
      return response.headers.has("Message-Recovered")
        ? "The answer was lost on the way and was recovered."
        : "";
    }
    const seconds = response.headers.get("Retry-After");
    if (REPEATABLE.has(answer.code) && !last) {
      await wait(Number(seconds ?? attempt) * 1000);
      continue;
    }
    // `detail` of a problem says what to do.
    return `${answer.title}. ${answer.detail}${seconds === null ? "" : ` (${seconds} s)`}`;
  }
}

const chatId = await openChat();

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = content.value;
  if (text.trim() === "") return;
  content.value = "";
  button.disabled = true;
  show("user", text);
  status.textContent = "The agent is writing …";
  try {
    status.textContent = await send(text);
  } finally {
    button.disabled = false;
    content.focus();
  }
});

content.addEventListener("keydown", (event) => {
  // Enter sends, Shift+Enter breaks the line; not while an input method is composing a character.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  form.requestSubmit();
});
