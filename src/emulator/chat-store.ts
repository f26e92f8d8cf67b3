// Owns which chats exist. It does not check tokens: a caller has already been let into the workspace.
import { Chat, type ChatSeed } from "./chat.ts";
import { Refusal } from "./refusal.ts";

/** Chats from `create chat` beyond this many push out the oldest of them, for load tests. */
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

  /** Back to the initial chats, each as new. */
  reset(): void {
    this.#chats.clear();
    this.#created.clear();
    this.#count = 0;
    for (const seed of this.#initial) this.add(seed);
  }

  /** Adds a chat that lives until the reset; one of the same id is replaced. */
  add(seed: ChatSeed): void {
    this.#created.delete(seed.chatId);
    this.#chats.set(seed.chatId, new Chat(seed));
  }

  /** Adds a chat under a new id. The ids are counted, so that a run can be repeated exactly. */
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
   * @throws {Refusal} 404 for a chat that does not exist, and the same for one of another workspace,
   * so that the answer does not tell which ids exist elsewhere
   */
  find(chatId: string, workspaceId: number): Chat {
    const chat = this.#chats.get(chatId);
    if (chat?.workspaceId !== workspaceId) throw new Refusal(404, "no such chat");
    return chat;
  }
}
