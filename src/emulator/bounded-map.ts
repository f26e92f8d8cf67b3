// Owns the bound on what the emulator remembers: a load test sends millions of requests, and the
// machine must survive it. It knows nothing of what is remembered.

/** More than any functional test looks back over, and small enough to keep. */
const ENTRIES_MAX = 10_000;
/** Long messages reach memory before many do: at most two bytes for each, so 64 MiB. */
const CHARS_MAX = 32 * 1024 * 1024;

/** A map that forgets its oldest entries beyond 10,000 of them, or beyond 32 Mi characters. */
export class BoundedMap<K, V> {
  readonly #entries = new Map<K, { value: V; chars: number }>();
  #chars = 0;

  get(key: K): V | undefined {
    return this.#entries.get(key)?.value;
  }

  /** Adds a new key; `chars` is about how much text the entry holds. The newest entry always stays. */
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

  /** Oldest first. */
  values(): V[] {
    return Array.from(this.#entries.values(), (entry) => entry.value);
  }

  clear(): void {
    this.#entries.clear();
    this.#chars = 0;
  }
}
