/**
 * Owns the state that needs no other service on Workers: an object with a SQLite database of its
 * own, which Cloudflare runs once in the world. It decides by the rules of the in-process state, one
 * synchronous step at a time, and each step is written whole or not at all.
 *
 * https://developers.cloudflare.com/durable-objects/
 */
import { DurableObject, type DurableObjectState } from "cloudflare:workers";

import type { AdmissionState, AdmitOutcome, AdmitRequest } from "../../admission/admission.ts";
import type { KeySpace } from "../../admission/key-space.ts";
import { createRulesState } from "../../admission/rules-state.ts";
import { limitKey } from "../../admission/state-keys.ts";
import type { Clock } from "../../clock.ts";
import { systemClock } from "../clock.ts";
import { createSqliteKeySpace, type SqliteKeySpace } from "./sqlite-key-space.ts";
import { chooseSweepPauseMs, SWEEP_EVERY_MS } from "./sweep.ts";

export type StateMethod = keyof AdmissionState;

export interface CallOptions {
  /** By the object's clock; past it nothing is done, since the request was answered 503. */
  readonly deadlineMs: number;
  /** How long a chat stays its owner's after its last use, in milliseconds. */
  readonly ownerTtlMs: number;
}

/** What a method came to; or, where it was called too late, the object's time by the epoch. */
export type CallAnswer = { readonly result: unknown } | { readonly lateAtMs: number };

export class StateObject extends DurableObject {
  readonly #clock: Clock;
  #space: SqliteKeySpace | undefined;
  #sweepIsDue = false;

  constructor(ctx: DurableObjectState, env: unknown, clock: Clock = systemClock) {
    super(ctx, env);
    this.#clock = clock;
  }

  /** Runs one method of the state. Only the Worker of the same deployment can call it. */
  async call(
    method: StateMethod,
    args: readonly unknown[],
    { deadlineMs, ownerTtlMs }: CallOptions,
  ): Promise<CallAnswer> {
    const nowMs = this.#clock.epochMs();
    if (nowMs > deadlineMs) return { lateAtMs: nowMs };
    const state = createRulesState(this.#open(), () => this.#nowUs(), ownerTtlMs);
    const running = this.ctx.storage.transactionSync((): unknown => {
      const decide: unknown = Reflect.get(state, method);
      if (typeof decide !== "function") throw new Error("the state has no such method");
      return Reflect.apply(decide, state, args);
    });
    await this.#scheduleSweep();
    return { result: await running };
  }

  /** Takes back an admission that was not heard in time: the request was answered 503. */
  async withdraw(request: AdmitRequest, outcome: AdmitOutcome, ownerTtlMs: number): Promise<void> {
    if (!SPENDING.has(outcome.kind)) return;
    const space = this.#open();
    const state = createRulesState(space, () => this.#nowUs(), ownerTtlMs);
    const settling = this.ctx.storage.transactionSync(() => {
      refundLimits(space, this.#nowUs(), request);
      if (!("ticket" in outcome)) return undefined;
      const { mark } = outcome.ticket;
      return state.settle(outcome.ticket, { fate: "not_taken", mark });
    });
    await settling;
  }

  /** Called by the platform, at the time that was set. */
  async alarm(): Promise<void> {
    this.#sweepIsDue = false;
    const left = this.#open().sweep();
    if (left !== undefined) {
      await this.ctx.storage.setAlarm(Date.now() + chooseSweepPauseMs(left));
      return;
    }
    // With its table gone the object costs nothing; the next call makes it anew.
    this.#space = undefined;
    await this.ctx.storage.deleteAll();
  }

  #nowUs(): number {
    return Math.round(this.#clock.epochMs() * 1_000);
  }

  #open(): SqliteKeySpace {
    this.#space ??= createSqliteKeySpace(this.ctx.storage.sql, () => this.#nowUs());
    return this.#space;
  }

  async #scheduleSweep(): Promise<void> {
    if (this.#sweepIsDue) return;
    this.#sweepIsDue = true;
    if ((await this.ctx.storage.getAlarm()) === null) {
      await this.ctx.storage.setAlarm(Date.now() + SWEEP_EVERY_MS);
    }
  }
}

/** Outcomes that spend the limits. */
const SPENDING: ReadonlySet<AdmitOutcome["kind"]> = new Set(["admitted", "denied", "unresolved"]);

function refundLimits(space: KeySpace, nowUs: number, request: AdmitRequest): void {
  for (const { name, intervalUs } of request.policies) {
    const key = limitKey("", name, request);
    const tatUs = Number(space.read(key)?.text ?? 0) - intervalUs;
    if (tatUs > nowUs) space.write(key, String(tatUs), tatUs);
    else space.delete(key);
  }
}
