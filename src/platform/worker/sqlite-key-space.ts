/** Key space of an object on Workers: the state's texts in its own SQLite database. */
import type { SqlStorage } from "cloudflare:workers";

import type { KeySpace } from "../../admission/key-space.ts";
import type { Swept } from "./sweep.ts";

export interface SqliteKeySpace extends KeySpace {
  /** Deletes what has expired; undefined when nothing is left. */
  sweep(): Swept | undefined;
}

/**
 * One table and no further index: each would double what a write costs. The sweep reads it all, so
 * it comes the more seldom the more there is; expired texts are told by their own time anyway.
 */
export function createSqliteKeySpace(sql: SqlStorage, nowUs: () => number): SqliteKeySpace {
  sql.exec(
    "CREATE TABLE IF NOT EXISTS entries (key TEXT PRIMARY KEY, text TEXT NOT NULL, expires_us INTEGER NOT NULL) WITHOUT ROWID",
  );
  return {
    read(key) {
      const [row] = sql.exec("SELECT text, expires_us FROM entries WHERE key = ?", key);
      const text = row?.["text"];
      const expiresAtUs = row?.["expires_us"];
      if (typeof text !== "string" || typeof expiresAtUs !== "number") return undefined;
      return expiresAtUs <= nowUs() ? undefined : { text, expiresAtUs };
    },
    write: (key, text, expiresAtUs) =>
      void sql.exec(
        "INSERT OR REPLACE INTO entries (key, text, expires_us) VALUES (?, ?, ?)",
        key,
        text,
        Math.ceil(expiresAtUs),
      ),
    delete: (key) => void sql.exec("DELETE FROM entries WHERE key = ?", key),
    sweep() {
      sql.exec("DELETE FROM entries WHERE expires_us <= ?", nowUs());
      const [left] = sql.exec("SELECT count(*) AS size, min(expires_us) AS next_us FROM entries");
      const values = Number(left?.["size"]);
      if (values === 0) return undefined;
      return { values, nextExpiryMs: (Number(left?.["next_us"]) - nowUs()) / 1_000 };
    },
  };
}
