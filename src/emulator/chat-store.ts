// The chats that exist. It does not check tokens; the routes do.
import { Chat, type ChatSeed } from "./chat.ts";
import { Refusal } from "./refusal.ts";

/**
 * Most chats of the operation `create`. Beyond it the oldest of them is deleted, for load tests.
 */
const CREATED_MAX = 100_000;

export class ChatStore {
  readonly #initial: readonly ChatSeed[];
  readonly #chats = new Map<string, Chat>();
  readonly #created = new Set<string>();
  #count = 0;

  constructor(initial: readonly ChatSeed[]) {
    this.#initial = initial;
    this.reset();
  }

  /** Deletes all chats and creates the initial ones again. */
  reset(): void {
    this.#chats.clear();
    this.#created.clear();
    this.#count = 0;
    for (const seed of this.#initial) this.add(seed);
  }

  /** Adds a chat that exists until the reset. It replaces a chat with the same id. */
  add(seed: ChatSeed): void {
    this.#created.delete(seed.chatId);
    this.#chats.set(seed.chatId, new Chat(seed));
  }

  /**
   * Creates a chat with a new id. The ids are numbered, so that a test run can be repeated exactly.
   */
  create(seed: Omit<ChatSeed, "chatId">): Chat {
    let chatId: string;
    do {
      this.#count += 1;
      chatId = `chat_${this.#count.toString(16).padStart(12, "0")}`;
    } while (this.#chats.has(chatId));
    const chat = new Chat({ ...seed, chatId });
    this.#chats.set(chatId, chat);
    this.#created.add(chatId);
    for (const oldest of this.#created) {
      if (this.#created.size <= CREATED_MAX) break;
      this.#created.delete(oldest);
      this.#chats.delete(oldest);
    }
    return chat;
  }

  /**
   * Finds a chat of a workspace.
   * @throws {Refusal} 404 for a chat that does not exist. A chat of another workspace gets the same
   *   answer, so that it does not tell which ids exist elsewhere
   */
  find(chatId: string, workspaceId: number): Chat {
    const chat = this.#chats.get(chatId);
    if (chat?.workspaceId !== workspaceId) throw new Refusal(404, "no such chat");
    return chat;
  }
}
