/** Types of the client and of the chat store. */
import type { ApiMessage, Session, StartedChat, Transcript } from "./api.ts";
import type { ChatError } from "./chat-error.ts";

/** Settings of `createClient`. */
export interface ClientOptions {
  /** Address of the service without a slash at the end. Default: the origin of the page. */
  readonly baseUrl?: string | undefined;
  /**
   * The session token for `Authorization: Bearer`. A function is asked before each request, and once
   * more after a 401. Without it the session cookie of the page's origin is used.
   */
  readonly token?: string | (() => string | undefined | Promise<string | undefined>) | undefined;
  /** As for `fetch`. Default: `same-origin`. */
  readonly credentials?: RequestCredentials | undefined;
  /** Replaces the global `fetch`. */
  readonly fetch?: typeof fetch | undefined;
  /** Longest time until an operation is given up, in milliseconds. Default: 300,000. */
  readonly giveUpAfterMs?: number | undefined;
}

/** The pause before a request is repeated. */
export interface Retry {
  /** Time of the repeat, as in `Date.now()`. */
  readonly atMs: number;
  /** Why: the service says that the message goes on (`running`), or what went wrong. */
  readonly reason: "running" | ChatError;
}

/** Settings of one call. */
export interface CallOptions {
  /** Stops the waiting. It does not cancel a message. */
  readonly signal?: AbortSignal | undefined;
  /** Called before each pause. */
  readonly onRetry?: ((retry: Retry) => void) | undefined;
}

/** The agent's answer to a message. */
export interface Answer {
  /** New messages of the agent, in order. */
  readonly messages: readonly ApiMessage[];
  /** The answer was lost on its way, and was recovered from the transcript. */
  readonly isRecovered: boolean;
  /** The answer was stored by an earlier request with the same key. */
  readonly isReplayed: boolean;
}

/** Typed calls of the service. Each repeats by itself until it has an answer or must give up. */
export interface Client {
  /**
   * Starts a chat. There is no key for it: if an answer is lost, a repeat can start a second chat,
   * which stays empty.
   *
   * @throws ChatError
   */
  startChat(
    options?: CallOptions & {
      readonly metadata?: Readonly<Record<string, unknown>> | undefined;
      readonly variables?: Readonly<Record<string, unknown>> | undefined;
    },
  ): Promise<StartedChat>;
  /**
   * Sends a message at most once and returns its answer.
   *
   * @param message `key` is the `Idempotency-Key`, 1 to 255 visible ASCII characters; default: a new
   *   one. The same key and text go on with the same message.
   * @throws ChatError
   */
  sendMessage(
    chatId: string,
    message: CallOptions & {
      readonly text: string;
      readonly key?: string | undefined;
      /** An earlier request with this key may have sent the message. */
      readonly isRepeat?: boolean | undefined;
    },
  ): Promise<Answer>;
  /** Reads a chat with its transcript. @throws ChatError */
  getChat(chatId: string, options?: CallOptions): Promise<Transcript>;
  /** Ends a chat. An ended chat stays ended. @throws ChatError */
  endChat(chatId: string, options?: CallOptions): Promise<void>;
  /** Reads the session that requests have. @throws ChatError */
  getSession(options?: CallOptions): Promise<Session>;
  /** Swaps the token for a session cookie. @throws ChatError */
  createSession(options?: CallOptions): Promise<Session>;
  /** Logs out. @throws ChatError */
  deleteSession(options?: CallOptions): Promise<void>;
}

/** A message as the Vercel AI SDK shapes it. */
export interface ChatMessage {
  /** Stable within the chat. */
  readonly id: string;
  readonly role: "user" | "assistant";
  readonly parts: readonly { readonly type: "text"; readonly text: string }[];
  readonly metadata?: {
    readonly name?: string;
    readonly toolCalls?: readonly Record<string, unknown>[];
    /** The message has no answer yet. */
    readonly isPending?: true;
  };
}

/**
 * - `loading`: the chat is started or read.
 * - `ready`: a message can be sent.
 * - `submitted`: a message waits for its answer.
 * - `error`: see `error`. If there is a `pending` message, `retry()` goes on with it.
 * - `ended`: the chat takes no more messages.
 */
export type ChatStatus = "loading" | "ready" | "submitted" | "error" | "ended";

/** The message that has no answer yet. */
export interface PendingMessage {
  readonly text: string;
  /** When the user sent it, as in `Date.now()`. */
  readonly sinceMs: number;
  /** Set during the pause before a repeat. */
  readonly retry?: Retry | undefined;
}

/** State of a chat at one moment. A new object for each change, and only then. */
export interface ChatSnapshot {
  /** undefined before the chat has started. */
  readonly id: string | undefined;
  readonly status: ChatStatus;
  /** The transcript; the pending message is its last. */
  readonly messages: readonly ChatMessage[];
  readonly error: ChatError | undefined;
  readonly pending: PendingMessage | undefined;
}

/** Where a chat is kept over a reload: `sessionStorage`, for example. */
export type ChatStorage = Pick<Storage, "getItem" | "setItem" | "removeItem">;

/** Settings of `createChat`. */
export interface ChatOptions extends ClientOptions {
  /** Replaces the client that the other options describe. */
  readonly client?: Client | undefined;
  /** An existing chat. Default: the chat of this tab, or else a new one. */
  readonly chatId?: string | undefined;
  /** Tells chats without `chatId` on one page apart in the storage. */
  readonly storageKey?: string | undefined;
  /** When a new chat starts: with its first message (`lazy`) or with the first subscriber (`eager`). */
  readonly start?: "lazy" | "eager" | undefined;
  /** For a new chat: as the operator allows by `CHAT_METADATA` and `CHAT_VARIABLES`. */
  readonly metadata?: Readonly<Record<string, unknown>> | undefined;
  readonly variables?: Readonly<Record<string, unknown>> | undefined;
  /** Default: `sessionStorage`. null: nothing outlives the page. */
  readonly storage?: ChatStorage | null | undefined;
}

/**
 * How a message ended: `answered`; `refused`: it will not be sent, give the text back to the user;
 * `pending`: it has no answer, `retry()` goes on with it.
 */
export type SendResult = "answered" | "refused" | "pending";

/** One chat: its transcript, its pending message, and what can be done. */
export interface Chat extends ChatSnapshot {
  /** Sends a message. `refused` at once if the text is blank or another message is pending. */
  readonly sendMessage: (message: { readonly text: string }) => Promise<SendResult>;
  /** Goes on with the pending message, with the same key; or repeats what failed. */
  readonly retry: () => Promise<void>;
  /** Forgets the error, and the pending message with it: read `pending.text` before. */
  readonly dismiss: () => void;
  /** Reads the transcript again. */
  readonly reload: () => Promise<void>;
  /** Ends the chat. */
  readonly end: () => Promise<void>;
  /** Leaves this chat; the next message starts a new one. */
  readonly newChat: () => void;
  /** Calls `listener` after each change. The first subscriber loads or resumes the chat. */
  readonly subscribe: (listener: () => void) => () => void;
  readonly getSnapshot: () => ChatSnapshot;
}
