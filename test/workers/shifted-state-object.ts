/** The state's object with a clock that the test sets: only ever run inside workerd. */
import type { DurableObjectState } from "cloudflare:workers";

import { StateObject, type StateMethod } from "../../src/platform/worker/state-object.ts";

/** One call, and the moment at which it is made. */
export interface ReplayedCall {
  readonly atUs: number;
  readonly method: StateMethod;
  readonly args: readonly unknown[];
}

export class ShiftedStateObject extends StateObject {
  readonly #time: { us: number };

  constructor(ctx: DurableObjectState, env: unknown) {
    const time = { us: 0 };
    super(ctx, env, { epochMs: () => time.us / 1_000, monotonicMs: () => time.us / 1_000 });
    this.#time = time;
  }

  /** Makes the calls one after the other, each at its moment; gives what each came to. */
  async replay(calls: readonly ReplayedCall[], ownerTtlMs: number): Promise<unknown[]> {
    const results: unknown[] = [];
    for (const { atUs, method, args } of calls) {
      this.#time.us = atUs;
      const answer = await this.call(method, args, { deadlineMs: Infinity, ownerTtlMs });
      results.push("result" in answer ? answer.result : answer);
    }
    return results;
  }

  /** Ends it in memory, as the platform does at any time; the call itself fails by that. */
  async end(): Promise<void> {
    await Promise.resolve();
    this.ctx.abort("ended by the test");
  }

  async runAlarmAt(us: number): Promise<void> {
    this.#time.us = us;
    await this.alarm();
  }

  /** How long until the platform sweeps it, in milliseconds; undefined when it never does. */
  async timeToAlarmMs(): Promise<number | undefined> {
    const atMs = await this.ctx.storage.getAlarm();
    return atMs === null ? undefined : atMs - Date.now();
  }

  /** How many values lie in its database; undefined when it has no table any more. */
  async countEntries(): Promise<number | undefined> {
    await Promise.resolve();
    const [table] = this.ctx.storage.sql.exec("SELECT 1 FROM sqlite_master WHERE name = 'entries'");
    if (table === undefined) return undefined;
    const [row] = this.ctx.storage.sql.exec("SELECT count(*) AS entries FROM entries");
    return Number(row?.["entries"]);
  }
}

export default { fetch: () => new Response(null, { status: 404 }) };
