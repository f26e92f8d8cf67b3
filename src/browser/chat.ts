/** The store of one chat. */
import type { ApiMessage } from "./api.ts";
import { mergeMessages, toMessage } from "./chat-messages.ts";
import {
  forgetRecord,
  KEPT_MS,
  nameOwner,
  readRecord,
  recordName,
  writeRecord,
} from "./chat-record.ts";
import { ChatError } from "./chat-error.ts";
import { createClient, createKey } from "./client.ts";
import { inTurn, onWake, openChannel, withLock } from "./tabs.ts";
import type { Chat, ChatMessage, ChatOptions, ChatSnapshot, Retry, SendResult } from "./types.ts";

interface Pending {
  readonly text: string;
  readonly key: string;
  readonly sinceMs: number;
  /** Length of the transcript before this message. */
  count: number;
  /** An earlier request may have sent it. */
  isRepeat: boolean;
  retry?: Retry | undefined;
}

/**
 * Creates the store of one chat. It sends no request before the first subscriber, message or reload.
 *
 * A message is stored before it is sent, bound to the user and for 24 hours. After a reload of the
 * page the store goes on with it, so that it is sent once.
 */
export function createChat(options: ChatOptions = {}): Chat {
  const client = options.client ?? createClient(options);
  const recordKey = recordName(options);
  const listeners = new Set<() => void>();

  let id = options.chatId;
  /** The shown messages, as the service gave them and as views read them. */
  let given: readonly ApiMessage[] = [];
  let transcript: readonly ChatMessage[] = [];
  let pending: Pending | undefined;
  let error: ChatError | undefined;
  let isEnded = false;
  let isLoading = false;
  /** The user of this chat; `isKnown` is false when the session may be another user's. */
  let owner: string | undefined;
  let isKnown = false;

  /** Set by the first subscriber or message; again after a failure. */
  let opening: Promise<void> | undefined;
  /** Set while the pending message is on its way. */
  let delivering: Promise<SendResult> | undefined;
  /** Stops the waiting of the chat that is left. */
  let leaving = new AbortController();
  /** Number of the newest read that has begun, and of the newest one that was applied. */
  let reads = 0;
  let applied = 0;
  /** Open while there are subscribers. */
  let channel: BroadcastChannel | undefined;
  let stopWaking: (() => void) | undefined;
  /** Whether the owner is being read because the page was shown. */
  let isChecking = false;
  let snapshot = createSnapshot();

  function createSnapshot(): ChatSnapshot {
    const status =
      pending !== undefined && error === undefined
        ? "submitted"
        : isEnded && pending === undefined
          ? "ended"
          : error !== undefined
            ? "error"
            : isLoading
              ? "loading"
              : "ready";
    return {
      id,
      status,
      error,
      // What lies behind `count` may hold the pending message already: its place is not guessed.
      messages:
        pending === undefined
          ? transcript
          : [
              ...transcript.slice(0, pending.count),
              toMessage(pending.count, { role: "user", content: pending.text }, true),
            ],
      pending: pending && { text: pending.text, sinceMs: pending.sinceMs, retry: pending.retry },
    };
  }

  function change(): void {
    snapshot = createSnapshot();
    for (const listener of listeners) listener();
  }

  function setTranscript(messages: readonly ApiMessage[]): void {
    given = messages.filter(({ role }) => role === "user" || role === "assistant");
    transcript = mergeMessages(transcript, given);
  }

  /** Runs a step of the current chat. What it throws becomes `error`, unless the chat was left. */
  async function guard(
    step: (signal: AbortSignal) => Promise<unknown>,
    isDelivery = false,
  ): Promise<void> {
    const { signal } = leaving;
    try {
      await step(signal);
    } catch (cause) {
      if (signal.aborted) return;
      if (!(cause instanceof ChatError)) throw cause;
      // Both can mean that another user has signed in.
      if (cause.status === 401 || cause.code === "chat_not_found") isKnown = false;
      // While a message is on its way, only its own errors are the chat's.
      if (isDelivery || delivering === undefined) error = cause;
      isEnded ||= cause.code === "chat_ended";
    } finally {
      if (!signal.aborted) {
        isLoading = false;
        change();
      }
    }
  }

  /** Finds out whose session it is. If it is another user's now, the chat of the first is left. */
  async function readOwner(signal: AbortSignal): Promise<string> {
    if (owner !== undefined && isKnown) return owner;
    const found = nameOwner(await client.getSession({ signal }));
    signal.throwIfAborted();
    const before = owner ?? found;
    owner = found;
    if (before !== found) newChat();
    isKnown = true;
    signal.throwIfAborted();
    return found;
  }

  async function readTranscript(signal: AbortSignal): Promise<void> {
    if (id === undefined) return;
    const read = ++reads;
    const chat = await client.getChat(id, { signal });
    // A later read was faster.
    if (signal.aborted || read < applied) return;
    applied = read;
    isEnded = chat.endedAt !== null;
    setTranscript(chat.messages);
  }

  /**
   * Starts a chat, or joins the one that another store of this page has started for the same record:
   * a component that is mounted anew must not send the message to a second chat.
   */
  const start = (signal: AbortSignal) =>
    recordKey.storage ? inTurn(recordKey.name, () => startNow(signal)) : startNow(signal);

  async function startNow(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const user = await readOwner(signal);
    const record = readRecord(recordKey);
    if (record?.chatId !== undefined && record.owner === user) {
      id = record.chatId;
      return readTranscript(signal);
    }
    const { metadata, variables } = options;
    const chat = await client.startChat({ metadata, variables, signal });
    signal.throwIfAborted();
    id = chat.chatId;
    setTranscript(chat.messages);
    if (pending === undefined) writeRecord(recordKey, { chatId: id, owner: user });
    else if (isStored(pending)) await store(pending, signal);
  }

  /** Whether the record is that of this message. Another store may have begun another one in it. */
  const isStored = ({ key }: Pending) => readRecord(recordKey)?.pending?.key === key;

  /** Loads the chat of this tab, and finds its pending message. Once, until it fails. */
  function open(): Promise<void> {
    opening ??= guard(async (signal) => {
      try {
        let record = readRecord(recordKey);
        if (record === undefined && id === undefined && options.start !== "eager") return;
        isLoading = true;
        change();
        if (record === undefined && id === undefined) return await start(signal);
        const user = await readOwner(signal);
        if (record !== undefined && record.owner !== user) {
          forgetRecord(recordKey);
          record = undefined;
        }
        id = record?.chatId ?? id;
        if (record?.pending !== undefined) pending ??= { ...record.pending, isRepeat: true };
        if (id !== undefined) await load(signal);
        else if (options.start === "eager") await start(signal);
      } catch (cause) {
        if (!signal.aborted) opening = undefined;
        throw cause;
      }
    });
    return opening;
  }

  /** Goes on with the pending message if nothing stands against it. */
  async function resume(): Promise<void> {
    await open();
    if (snapshot.status === "submitted") await deliver();
  }

  async function load(signal: AbortSignal): Promise<void> {
    try {
      await readTranscript(signal);
    } catch (cause) {
      const isGone = cause instanceof ChatError && cause.code === "chat_not_found";
      if (!isGone || options.chatId !== undefined || pending !== undefined) throw cause;
      // The stored chat exists no more: the next message starts a new one.
      forgetRecord(recordKey);
      id = undefined;
    }
  }

  /** Sends the pending message, or goes on with it. */
  function deliver(isNew = false): Promise<SendResult> {
    if (delivering === undefined) {
      const attempting = attempt(isNew).finally(() => {
        // Another chat may have begun meanwhile.
        if (delivering === attempting) delivering = undefined;
      });
      delivering = attempting;
    }
    return delivering;
  }

  async function attempt(isNew: boolean): Promise<SendResult> {
    const message = pending;
    if (message === undefined) return "refused";
    let result: SendResult = "pending";
    error = undefined;
    change();
    await guard(async (signal) => {
      try {
        // The service has forgotten the key: a repeat would be a new message.
        if (Date.now() - message.sinceMs > KEPT_MS) {
          throw new ChatError("outcome_unknown", { status: 0, sent: "unknown" });
        }
        await store(message, signal);
        if (id === undefined) {
          await start(signal);
          message.count = transcript.length;
        }
        if (!message.isRepeat) message.count = transcript.length;
        if (isStored(message)) await store(message, signal);
        const chatId = id;
        if (chatId === undefined) return;
        const { text, key, count } = message;
        change();
        const answer = await withLock(chatId, () =>
          client.sendMessage(chatId, {
            text,
            key,
            signal,
            isRepeat: message.isRepeat,
            onRetry: (retry) => {
              message.retry = retry;
              change();
            },
          }),
        );
        signal.throwIfAborted();
        result = "answered";
        settle();
        const isAppended = !message.isRepeat && !answer.isRecovered && !answer.isReplayed;
        if (isAppended && transcript.length === count) {
          setTranscript([...given, { role: "user", content: text }, ...answer.messages]);
          // A read that began before this answer is older than it.
          applied = ++reads;
        } else {
          change();
          await readTranscript(signal);
        }
        announce();
      } catch (cause) {
        message.retry = undefined;
        // A text that no caller takes back stays, so that the user can.
        if (isNew && result === "pending" && cause instanceof ChatError && isRefusal(cause)) {
          result = "refused";
          settle();
        } else message.isRepeat = message.isRepeat || isSent(cause);
        throw cause;
      }
    }, true);
    return result;
  }

  /** The pending message needs no repeat. */
  function settle(): void {
    const isOurs = pending !== undefined && isStored(pending);
    pending = undefined;
    if (!isOurs) return;
    if (id === undefined || owner === undefined) forgetRecord(recordKey);
    else writeRecord(recordKey, { chatId: id, owner });
  }

  /** Stores the message before it is sent. */
  async function store({ text, key, sinceMs, count }: Pending, signal: AbortSignal): Promise<void> {
    const user = await readOwner(signal);
    const record = readRecord(recordKey);
    // Another store may have started the chat of this message meanwhile.
    if (record?.pending?.key === key && record.owner === user) id ??= record.chatId;
    writeRecord(recordKey, { chatId: id, owner: user, pending: { text, key, sinceMs, count } });
  }

  /** Tells the other tabs that this chat has changed. */
  function announce(): void {
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a channel has one origin
    channel?.postMessage(id);
  }

  function leave(): void {
    leaving.abort();
    leaving = new AbortController();
    isLoading = false;
    opening = undefined;
    delivering = undefined;
  }

  const reload = () =>
    guard(async (signal) => {
      isLoading = true;
      if (pending === undefined) error = undefined;
      change();
      await readTranscript(signal);
    });

  function newChat(): void {
    leave();
    id = undefined;
    setTranscript([]);
    pending = undefined;
    error = undefined;
    isEnded = false;
    isKnown = false;
    forgetRecord(recordKey);
    change();
    if (options.start === "eager" && listeners.size > 0) void resume();
  }

  return {
    async sendMessage({ text }) {
      if (text.trim() === "" || pending !== undefined) return "refused";
      error = undefined;
      change();
      await open();
      // The text is of the user who is signed in now: it must not go to the chat of another.
      const mayDiffer = owner !== undefined && !isKnown && snapshot.pending === undefined;
      if (mayDiffer) await guard(readOwner);
      const { pending: stored, error: failure } = snapshot;
      if (stored !== undefined) {
        // The message before the reload, or a faster call, comes first.
        void resume();
        return "refused";
      }
      // The stored message could not be looked at: it must not be replaced.
      const isKept = failure !== undefined && readRecord(recordKey)?.pending !== undefined;
      if (isEnded || isKept || (failure !== undefined && isRefusal(failure))) return "refused";
      pending = {
        text,
        key: createKey(),
        sinceMs: Date.now(),
        count: transcript.length,
        isRepeat: false,
      };
      change();
      return failure === undefined ? deliver(true) : "pending";
    },

    async retry() {
      if (pending === undefined && opening !== undefined) return reload();
      error = undefined;
      change();
      await resume();
    },

    dismiss() {
      error = undefined;
      if (pending === undefined) change();
      else {
        leave();
        settle();
        change();
        // It may have been sent: the transcript tells.
        void open();
      }
    },

    reload,

    end: () =>
      guard(async (signal) => {
        if (id === undefined) return;
        await client.endChat(id, { signal });
        isEnded = true;
        announce();
      }),

    newChat,

    subscribe(listener) {
      listeners.add(listener);
      channel ??= openChannel((chatId) => {
        // An error here concerns only what another tab has done: this tab's list stays as it was.
        if (chatId === id && pending === undefined) {
          void readTranscript(leaving.signal).then(change, ignore);
        }
      });
      stopWaking ??= onWake(() => {
        isKnown = false;
        if (owner === undefined || delivering !== undefined || isChecking) return;
        isChecking = true;
        // If the session cannot be read now, the next message reads it.
        void readOwner(leaving.signal)
          .catch(ignore)
          .finally(() => (isChecking = false));
      });
      void resume();
      return () => {
        listeners.delete(listener);
        if (listeners.size > 0) return;
        stopWaking?.();
        stopWaking = undefined;
        channel?.close();
        channel = undefined;
      };
    },

    getSnapshot: () => snapshot,

    get id() {
      return snapshot.id;
    },
    get status() {
      return snapshot.status;
    },
    get messages() {
      return snapshot.messages;
    },
    get error() {
      return snapshot.error;
    },
    get pending() {
      return snapshot.pending;
    },
  };
}

function ignore(): void {
  // Its outcome is in the snapshot.
}

/** Whether the error says that the message was not taken, and that no repeat will change that. */
function isRefusal({ code, sent }: ChatError): boolean {
  return sent !== "unknown" && code !== "session_required";
}

function isSent(cause: unknown): boolean {
  return !(cause instanceof ChatError) || cause.sent === "unknown";
}
