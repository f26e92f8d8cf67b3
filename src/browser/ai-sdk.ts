/** Transport of the Vercel AI SDK: `useChat({ transport: new UponaiChatTransport() })`. */
import type { ChatTransport, UIMessage, UIMessageChunk } from "ai";

import {
  forgetRecord,
  KEPT_MS,
  nameOwner,
  readRecord,
  recordName,
  writeRecord,
} from "./chat-record.ts";
import { ChatError } from "./chat-error.ts";
import { createClient } from "./client.ts";
import type { Answer, Client, ClientOptions, ChatStorage } from "./types.ts";

/** Settings of `UponaiChatTransport`. */
export interface TransportOptions extends ClientOptions {
  /** Replaces the client that the other options describe. */
  readonly client?: Client | undefined;
  /** An existing chat. Default: a new one for each chat of the SDK. */
  readonly chatId?: string | undefined;
  /** Default: `sessionStorage`. null: nothing outlives the page. */
  readonly storage?: ChatStorage | null | undefined;
}

interface Pending {
  readonly text: string;
  readonly key: string;
  readonly sinceMs: number;
  readonly count: number;
}

/**
 * Sends the messages of an AI SDK chat. The key of a message is derived from its id, so that a
 * repeat, also by `regenerate`, sends it once. Errors are `ChatError`s.
 */
export class UponaiChatTransport<
  Message extends UIMessage = UIMessage,
> implements ChatTransport<Message> {
  readonly #options: TransportOptions;
  readonly #client: Client;
  /** Chats of UponAI by the SDK's ids and the users, while they start and after. */
  readonly #chats = new Map<string, Promise<string>>();

  /** When the message of a key was sent first, as in `Date.now()`. */
  readonly #sent = new Map<string, number>();

  constructor(options: TransportOptions = {}) {
    this.#options = options;
    this.#client = options.client ?? createClient(options);
  }

  /**
   * Sends the last message of the user. `regenerate` goes on with it; UponAI cannot answer a message a
   * second time, so one whose key the service has forgotten is refused. @throws ChatError
   */
  async sendMessages({
    chatId,
    messages,
    trigger,
    abortSignal,
  }: Parameters<ChatTransport<Message>["sendMessages"]>[0]): Promise<
    ReadableStream<UIMessageChunk>
  > {
    const message = messages.findLast(({ role }) => role === "user");
    const text =
      message?.parts.map((part) => (part.type === "text" ? part.text : "")).join("") ?? "";
    const key = createKey(chatId, message?.id ?? "");
    const pending = readRecord(this.#place(chatId))?.pending;
    const known = pending?.key === key ? pending.sinceMs : this.#sent.get(key);
    const isKept = known !== undefined && Date.now() - known <= KEPT_MS;
    if (trigger === "regenerate-message" && !isKept) {
      throw new ChatError("outcome_unknown", {
        status: 0,
        sent: "unknown",
        title: "This message cannot be answered again",
      });
    }
    const sinceMs = known ?? Date.now();
    this.#sent.set(key, sinceMs);
    return this.#send(chatId, { text, key, sinceMs, count: 0 }, abortSignal, known !== undefined);
  }

  /** Goes on with the message that had no answer before a reload; null if there is none. */
  async reconnectToStream({
    chatId,
    abortSignal,
  }: Parameters<
    ChatTransport<Message>["reconnectToStream"]
  >[0]): Promise<ReadableStream<UIMessageChunk> | null> {
    const place = this.#place(chatId);
    const record = readRecord(place);
    const pending = record?.pending;
    // The service has forgotten an older key: a repeat would be a new message.
    if (!pending || Date.now() - pending.sinceMs > KEPT_MS) return null;
    const owner = nameOwner(await this.#client.getSession({ signal: abortSignal }));
    if (record.owner === owner) {
      return this.#send(chatId, pending, abortSignal, true);
    }
    forgetRecord(place);
    return null;
  }

  async #send(
    sdkId: string,
    pending: Pending,
    signal: AbortSignal | undefined,
    isRepeat = false,
  ): Promise<ReadableStream<UIMessageChunk>> {
    const { text, key } = pending;
    const place = this.#place(sdkId);
    const owner = nameOwner(await this.#client.getSession({ signal }));
    const chatId = await this.#open(sdkId, owner);
    writeRecord(place, { chatId, owner, pending });
    try {
      const answer = await this.#client.sendMessage(chatId, { text, key, signal, isRepeat });
      writeRecord(place, { chatId, owner });
      return toStream(answer);
    } catch (error) {
      const { code, sent } = error instanceof ChatError ? error : {};
      if (code === "chat_ended" || code === "chat_not_found") {
        // The next message starts a new chat.
        this.#chats.delete(sdkId + owner);
        forgetRecord(place);
      } else if (sent === "no" || sent === "refused") writeRecord(place, { chatId, owner });
      throw error;
    }
  }

  #place(sdkId: string) {
    return recordName({ ...this.#options, chatId: `ai:${sdkId}` });
  }

  #open(sdkId: string, owner: string): Promise<string> {
    const { chatId } = this.#options;
    if (chatId !== undefined) return Promise.resolve(chatId);
    const name = sdkId + owner;
    let opening = this.#chats.get(name);
    if (opening === undefined) {
      const record = readRecord(this.#place(sdkId));
      opening =
        record?.owner === owner && record.chatId !== undefined
          ? Promise.resolve(record.chatId)
          : this.#client.startChat().then((chat) => chat.chatId);
      // A start that has failed is tried again.
      opening.catch(() => this.#chats.delete(name));
      this.#chats.set(name, opening);
    }
    return opening;
  }
}

/** Derives the idempotency key: visible ASCII, at most 255 characters. */
function createKey(sdkId: string, messageId: string): string {
  return `ai:${sdkId}:${messageId}`
    .replaceAll(/[^!-~]/g, (char) => `%${char.charCodeAt(0).toString(16)}`)
    .slice(-255);
}

function toStream({ messages }: Answer): ReadableStream<UIMessageChunk> {
  return new ReadableStream({
    start(stream) {
      stream.enqueue({ type: "start" });
      for (const [index, { content }] of messages.entries()) {
        const id = `${index}`;
        stream.enqueue({ type: "text-start", id });
        stream.enqueue({ type: "text-delta", id, delta: content });
        stream.enqueue({ type: "text-end", id });
      }
      stream.enqueue({ type: "finish" });
      stream.close();
    },
  });
}
