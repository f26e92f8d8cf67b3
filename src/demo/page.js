// The demo page: two users with a chat each, faults for the next message, and what UponAI saw.

const FAULTS = {
  slow: ["Slow answer", "UponAI takes 15 seconds. Nothing is cut, and nothing is sent twice."],
  lost: [
    "Lost answer",
    "UponAI takes the message, and its answer is lost. The service recovers it.",
  ],
  cut: ["Proxy cut", "A proxy answers with its HTML page while the message goes on."],
  busy: ["Busy", "UponAI refuses for 3 seconds. The same message is sent again by itself."],
  limit: ["Rate limit", "The limit of the user is spent. The message waits its turn."],
  restart: ["Restart", "The service is away for 5 seconds, behind a proxy that answers 502."],
  session: ["Session ends", "The session has expired. The message is kept until the next sign-in."],
  ended: ["Chat ends", "The agent has ended the chat. The text returns to the input."],
};

const chats = { alice: document.querySelector("#alice"), bob: document.querySelector("#bob") };
const signedOut = new Set();

function post(path, body) {
  return fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
}

for (const [user, chat] of Object.entries(chats)) {
  // A real page gets the token from its login, or uses the session cookie and needs no token.
  chat.token = async () => {
    if (signedOut.has(user)) return undefined;
    const response = await post("/demo/session", { user });
    return response.text();
  };
  const signIn = document.querySelector(`.sign-in[data-user=${user}]`);
  chat.addEventListener("uponai-session-required", () => {
    signIn.hidden = false;
  });
  signIn.addEventListener("click", () => {
    signedOut.delete(user);
    signIn.hidden = true;
    void chat.chat.retry();
    chat.focus();
  });
}

const explanation = document.querySelector("#explanation");
const buttons = Object.entries(FAULTS).map(([name, [title, text]]) => {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = title;
  button.setAttribute("aria-pressed", "false");
  button.addEventListener("click", async () => {
    if (name === "session") signedOut.add("alice");
    else await post("/demo/fault", { name });
    press(button, text);
    chats.alice.focus();
  });
  return button;
});
document.querySelector("#faults").append(...buttons);

function press(pressed, text) {
  for (const button of buttons) button.setAttribute("aria-pressed", String(button === pressed));
  explanation.textContent = text;
}

chats.alice.addEventListener("uponai-status", ({ detail }) => {
  if (detail.status === "ready") press(undefined, "No fault is set.");
});

document.querySelector("#foreign").addEventListener("click", () => {
  const { id } = chats.alice.chat;
  if (id === undefined) {
    chats.alice.focus();
    explanation.textContent = "Send a message as Alice first.";
    return;
  }
  chats.bob.setAttribute("chat-id", id);
});

const seen = document.querySelector("#seen");
async function showSeen() {
  try {
    const { messages } = await (await fetch("/demo/seen")).json();
    document.querySelector("#nothing").hidden = messages.length > 0;
    seen.replaceChildren(
      ...messages.toReversed().map(({ content, taken }) => {
        const row = document.createElement("tr");
        for (const text of [content, taken === 1 ? "once" : `${taken} times`]) {
          const cell = document.createElement("td");
          cell.textContent = text;
          row.append(cell);
        }
        return row;
      }),
    );
  } catch {
    // The next look finds it.
  }
  setTimeout(showSeen, 1000);
}
void showSeen();
