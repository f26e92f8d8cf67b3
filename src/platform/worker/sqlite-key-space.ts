/** Key space of a Durable Object: the texts of the state in the SQLite database of the object. */
import type { SqlStorage } from "cloudflare:workers";

import type { KeySpace } from "../../admission/key-space.ts";
import type { Swept } from "./sweep.ts";

export interface SqliteKeySpace extends KeySpace {
  /** Deletes expired texts; returns undefined when none are left. */
  sweep(): Swept | undefined;
}

/**
 * Creates the key space and its table.
 *
 * There is no index on the expiry time, because it would double the cost of each write. So a sweep
 * reads the whole table, and runs less often the more rows there are (see sweep.ts). `read` checks
 * the expiry time itself and does not depend on the sweep.
 *
 * @param nowUs current time in microseconds since the epoch
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
