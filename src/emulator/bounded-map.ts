// A map with a limit on entries and characters. A load test sends millions of requests, and the
// records of the emulator must not fill the memory.

/** Most entries: more than any functional test reads. */
const ENTRIES_MAX = 10_000;
/** Most characters, for tests with long messages: at most two bytes each, so 64 MiB. */
const CHARS_MAX = 32 * 1024 * 1024;

/** A map that forgets its oldest entries beyond 10,000 of them, or beyond 32 Mi characters. */
export class BoundedMap<K, V> {
  readonly #entries = new Map<K, { value: V; chars: number }>();
  #chars = 0;

  get(key: K): V | undefined {
    return this.#entries.get(key)?.value;
  }

  /** Adds a new key with about `chars` characters of text. The newest entry always stays. */
  add(key: K, value: V, chars: number): void {
    this.#entries.set(key, { value, chars });
    this.#chars += chars;
    for (const [oldest, entry] of this.#entries) {
      const within = this.#entries.size <= ENTRIES_MAX && this.#chars <= CHARS_MAX;
      if (within || oldest === key) break;
      this.#entries.delete(oldest);
      this.#chars -= entry.chars;
    }
  }

  /** Returns the values, the oldest first. */
  values(): V[] {
    return Array.from(this.#entries.values(), (entry) => entry.value);
  }

  clear(): void {
    this.#entries.clear();
    this.#chars = 0;
  }
}
