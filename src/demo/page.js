// The demo page: what a frontend does with uponai-bff, in plain JavaScript.

const messages = document.querySelector("#messages");
const form = document.querySelector("#form");
const content = document.querySelector("#content");
const button = document.querySelector("button");
const status = document.querySelector("#status");

// Stands for the site's own login: a real site has its backend sign the token.
const { token, chatId } = await (await fetch("/demo/session", { method: "POST" })).json();

// The token is swapped for an HttpOnly cookie and forgotten: no script can read that.
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

async function send(text) {
  const response = await fetch(`/chat/${chatId}/send`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ content: text }),
  });
  const answer = await response.json();
  if (response.ok) {
    for (const message of answer.messages) show(message.role, message.content);
    return "";
  }
  // A problem says in `detail` what to do about it.
  const wait = response.headers.get("Retry-After");
  return `${answer.title}. ${answer.detail}${wait === null ? "" : ` (${wait} s)`}`;
}

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
  } catch {
    status.textContent = "The service cannot be reached.";
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
