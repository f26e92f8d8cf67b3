// Owns how often each message arrived and how often it was taken: the numbers by which a test sees
// that nothing was lost or sent twice. It decides neither.
import { BoundedMap } from "./bounded-map.ts";

export interface MessageCount {
  readonly chatId: string;
  readonly content: string;
  /** Well-formed completion requests from a known token, whatever became of them. */
  readonly arrived: number;
  /** How many of these entered the chat. */
  readonly taken: number;
}

export class MessageCounts {
  readonly #counts = new BoundedMap<
    string,
    { -readonly [K in keyof MessageCount]: MessageCount[K] }
  >();

  /** Counts one arrival, and returns how to count that this arrival was taken. */
  arrived(chatId: string, content: string): () => void {
    const key = JSON.stringify([chatId, content]);
    let count = this.#counts.get(key);
    if (count === undefined) {
      count = { chatId, content, arrived: 0, taken: 0 };
      this.#counts.add(key, count, key.length + content.length);
    }
    count.arrived += 1;
    const found = count;
    return () => {
      found.taken += 1;
    };
  }

  /** In the order of first arrival; copies, so that a test can compare before and after. */
  list(chatId?: string): readonly MessageCount[] {
    return this.#counts
      .values()
      .filter((count) => chatId === undefined || count.chatId === chatId)
      .map(({ chatId, content, arrived, taken }) => ({ chatId, content, arrived, taken }));
  }

  clear(): void {
    this.#counts.clear();
  }
}
