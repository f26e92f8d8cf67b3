/** The Durable Object of the state with a clock that the test sets. Runs only inside workerd. */
import type { DurableObjectState, SqlStorage } from "cloudflare:workers";

import type { AdmissionState, AdmitRequest, Settlement } from "../../src/admission/admission.ts";
import { createRulesState } from "../../src/admission/rules-state.ts";
import type { StateSettings } from "../../src/admission/state-settings.ts";
import { createSqliteKeySpace } from "../../src/platform/worker/sqlite-key-space.ts";
import { StateObject } from "../../src/platform/worker/state-object.ts";

/** One call, and the time at which it is made. */
export interface ReplayedCall {
  readonly atUs: number;
  readonly method: keyof AdmissionState | "withdraw";
  readonly args: readonly unknown[];
}

export class ShiftedStateObject extends StateObject {
  readonly #time: { us: number };

  constructor(ctx: DurableObjectState, env: unknown) {
    const time = { us: 0 };
    super(ctx, env, { epochMs: () => time.us / 1_000, monotonicMs: () => time.us / 1_000 });
    this.#time = time;
  }

  /** Makes the calls in order, each at its time, and returns their results. */
  async replay(calls: readonly ReplayedCall[], settings: StateSettings): Promise<unknown[]> {
    const results: unknown[] = [];
    for (const { atUs, method, args } of calls) {
      this.#time.us = atUs;
      const hasDeadline = method !== "withdraw" && method !== "settle";
      const options = hasDeadline ? { deadlineMs: Infinity, settings } : settings;
      const answer: unknown = await Reflect.apply(this[method], this, [...args, options]);
      const told = typeof answer === "object" && answer !== null && "result" in answer;
      results.push(told ? answer.result : answer);
    }
    return results;
  }

  /** Counts the rows that one message writes, by its admission and by settling it. */
  async countRows(
    request: AdmitRequest,
    settlement: Settlement,
    settings: StateSettings,
  ): Promise<number> {
    let written = 0;
    const { sql } = this.ctx.storage;
    const counting: SqlStorage = {
      exec(query, ...bindings) {
        const cursor = sql.exec(query, ...bindings);
        const rows = [...cursor];
        // The number that Cloudflare bills. The cursor has it after all rows were read.
        written += Number(Reflect.get(cursor, "rowsWritten"));
        return rows;
      },
    };
    const nowUs = () => this.#time.us;
    const space = createSqliteKeySpace(counting, nowUs);
    written = 0;
    const state = createRulesState(space, nowUs, settings);
    const outcome = await state.admit(request);
    if (outcome.kind !== "admitted") throw new Error(outcome.kind);
    await state.settle(outcome.admission, settlement);
    return written;
  }

  /** Removes the object from memory, as the platform can do at any time. The call itself fails. */
  async end(): Promise<void> {
    await Promise.resolve();
    this.ctx.abort("ended by the test");
  }

  async runAlarmAt(us: number): Promise<void> {
    this.#time.us = us;
    await this.alarm();
  }

  /**
   * Time until the alarm that removes expired records, in milliseconds; undefined if no alarm is
   * set.
   */
  async timeToAlarmMs(): Promise<number | undefined> {
    const atMs = await this.ctx.storage.getAlarm();
    return atMs === null ? undefined : atMs - Date.now();
  }

  /** Number of records in its database; undefined if the table does not exist any more. */
  async countEntries(): Promise<number | undefined> {
    await Promise.resolve();
    const [table] = this.ctx.storage.sql.exec("SELECT 1 FROM sqlite_master WHERE name = 'entries'");
    if (table === undefined) return undefined;
    const [row] = this.ctx.storage.sql.exec("SELECT count(*) AS entries FROM entries");
    return Number(row?.["entries"]);
  }
}

export default { fetch: () => new Response(null, { status: 404 }) };
