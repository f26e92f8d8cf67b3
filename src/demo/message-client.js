// Sends messages to uponai-bff over networks and proxies that fail. It has no dependencies.

/** Seconds that one request waits. Shorter than the shortest time-out of a proxy on the way. */
const WAIT_SECONDS = 25;
/** After this time without an answer a request is repeated, in milliseconds. */
const REQUEST_MS = 40_000;
/** Longest pause before a repeat, in milliseconds, where the answer names none. */
const PAUSE_MS_MAX = 15_000;
/** After this time the user is asked whether to go on, in milliseconds. */
const GIVE_UP_MS = 600_000;
/** The same after so many answers that the outcome is unknown: each has searched for the answer. */
const UNKNOWN_MAX = 5;

/** The message of this tab that has no answer yet. It stays there over a reload. */
const STORED = "uponai-message";

/** A message that was refused, or has no answer yet. */
export class MessageError extends Error {
  /**
   * @param problem the problem of the service; empty if there was none
   * @param isPending true: `resumeMessage` goes on with the same key
   */
  constructor(problem, isPending) {
    super(problem.detail ?? "The service cannot be reached.");
    this.problem = problem;
    this.isPending = isPending;
  }
}

/** Sends a message. Returns `{ messages, recovered }`. Throws a `MessageError`. */
export function sendMessage(chatId, content) {
  // One key per message: all requests with it are one message.
  const message = { chatId, content, key: crypto.randomUUID() };
  store(message);
  return repeatUntilAnswered(message);
}

/** Returns the message of this chat that has no answer yet, for example after a reload. */
export function findPending(chatId) {
  const stored = JSON.parse(readStored() ?? "{}");
  const { content, key } = stored;
  return stored.chatId === chatId ? { chatId, content, key } : undefined;
}

/** Goes on with the message of this chat that has no answer yet, like `sendMessage`. */
export function resumeMessage(chatId) {
  return repeatUntilAnswered(findPending(chatId));
}

async function repeatUntilAnswered(message) {
  const giveUpAt = Date.now() + GIVE_UP_MS;
  let failures = 0;
  let unknowns = 0;
  for (;;) {
    const { status, body, recovered, pauseMs } = await ask(message);
    if (status === 201 && Array.isArray(body?.messages)) {
      store(undefined);
      return { messages: body.messages, recovered };
    }
    const problem = body?.code === undefined ? {} : body;
    if (!isRepeatable(status, body)) {
      // After a new login, or when a defect is mended, the same request may succeed.
      const isPending = status === 401 || status === 500;
      if (!isPending) store(undefined);
      throw new MessageError(problem, isPending);
    }
    if (problem.code === "outcome_unknown") unknowns += 1;
    failures = status === 202 ? 0 : failures + 1;
    const ms = pauseMs ?? Math.min(500 * 2 ** failures, PAUSE_MS_MAX);
    if (unknowns === UNKNOWN_MAX || Date.now() + ms > giveUpAt) {
      throw new MessageError(problem, true);
    }
    await pause(ms);
  }
}

/** Sends the request once. Never throws: status 0 means that there was no answer. */
async function ask({ chatId, content, key }) {
  const aborter = new AbortController();
  const timer = setTimeout(() => aborter.abort(), REQUEST_MS);
  try {
    const response = await fetch(`/chat/${chatId}/send`, {
      method: "POST",
      headers: {
        "Content-Type": "application/json",
        "Idempotency-Key": key,
        Prefer: `respond-async, wait=${WAIT_SECONDS}`,
      },
      body: JSON.stringify({ content }),
      signal: aborter.signal,
    });
    const { status, headers } = response;
    // Anything but JSON is a page of a proxy, whatever its status. It says nothing about the message.
    const isJson = headers.get("Content-Type")?.includes("json");
    const body = isJson ? await response.json() : undefined;
    const seconds = Number(headers.get("Retry-After") ?? Number.NaN);
    const pauseMs = Number.isFinite(seconds) ? seconds * 1000 : undefined;
    return { status, body, recovered: headers.has("Message-Recovered"), pauseMs };
  } catch {
    return { status: 0 };
  } finally {
    clearTimeout(timer);
  }
}

/** Whether the same request with the same key can still bring the answer. */
function isRepeatable(status, body) {
  if (["upstream_auth_failed", "internal_error"].includes(body?.code)) return false;
  if (["request_in_progress", "chat_busy"].includes(body?.code)) return true;
  // Without the service's JSON a success is none either: a proxy or a login page has answered.
  return status < 400 || [408, 425, 429].includes(status) || status >= 500;
}

/** Resolves after so many milliseconds, or as soon as the browser is online again. */
function pause(ms) {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      removeEventListener("online", end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    addEventListener("online", end);
  });
}

function store(message) {
  try {
    if (message === undefined) sessionStorage.removeItem(STORED);
    else sessionStorage.setItem(STORED, JSON.stringify(message));
  } catch {
    // The browser allows no storage: the message does not outlive a reload.
  }
}

function readStored() {
  try {
    return sessionStorage.getItem(STORED);
  } catch {
    return null;
  }
}

/**
 * Whether a `keydown` of a text field is the Enter that sends. Shift+Enter breaks the line. An input
 * method ends its composition with Enter; Safari tells that only by `keyCode` 229.
 */
export function isSendKey({ key, shiftKey, isComposing, keyCode }) {
  return key === "Enter" && !shiftKey && !isComposing && keyCode !== 229;
}
