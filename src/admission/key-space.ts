/** Key-value interface of the state that the rules run on, with an implementation in memory. */

export interface KeySpaceEntry {
  readonly text: string;
  /** When it expires, in microseconds since the epoch. */
  readonly expiresAtUs: number;
}

/** Texts by key, each with its own expiry. Steps run one after the other, so that each is atomic. */
export interface KeySpace {
  /** Undefined for a missing or expired text. */
  read(key: string): KeySpaceEntry | undefined;
  write(key: string, text: string, expiresAtUs: number): void;
  delete(key: string): void;
}

/** Replaces a text and keeps its expiry; without a text, writes it with the given expiry. */
export function rewrite(space: KeySpace, key: string, text: string, expiresAtUs: number): void {
  space.write(key, text, space.read(key)?.expiresAtUs ?? expiresAtUs);
}

/** Entries checked for expiry per write. Two for each write keep expired ones from piling up. */
const SWEPT_PER_WRITE = 2;

/** A key space in a Map. Expired values are swept a few at a time, with no timer and no pause. */
export function createMemoryKeySpace(nowUs: () => number): KeySpace & { size(): number } {
  const entries = new Map<string, KeySpaceEntry>();
  let sweep = entries.entries();
  return {
    read(key) {
      const entry = entries.get(key);
      return entry === undefined || entry.expiresAtUs <= nowUs() ? undefined : entry;
    },
    write(key, text, expiresAtUs) {
      entries.set(key, { text, expiresAtUs });
      for (let count = 0; count < SWEPT_PER_WRITE; count += 1) {
        const next = sweep.next();
        if (next.done === true) {
          sweep = entries.entries();
          return;
        }
        const [candidate, entry] = next.value;
        if (entry.expiresAtUs <= nowUs()) entries.delete(candidate);
      }
    },
    delete: (key) => void entries.delete(key),
    size: () => entries.size,
  };
}
