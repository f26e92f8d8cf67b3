/** Owns the port of a place for the rules to keep texts in, and its simplest form: a Map. */

export interface KeySpaceEntry {
  readonly text: string;
  /** When it is gone, in microseconds since the epoch. */
  readonly expiresAtUs: number;
}

/** Texts by key, each gone after its own time. Only one asks at a time: a step is atomic. */
export interface KeySpace {
  /** Undefined when there is none, or none any more. */
  read(key: string): KeySpaceEntry | undefined;
  write(key: string, text: string, expiresAtUs: number): void;
  delete(key: string): void;
}

/** Writes a text that is gone when the one it replaces would have been, or then if there is none. */
export function rewrite(space: KeySpace, key: string, text: string, expiresAtUs: number): void {
  space.write(key, text, space.read(key)?.expiresAtUs ?? expiresAtUs);
}

/** Entries looked at per write. Two per new entry at most keep the expired from piling up. */
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
