/**
 * State on Workers without another service: a Durable Object with its own SQLite database.
 * Cloudflare runs one instance of each object worldwide. It decides by the rules of the in-process
 * state, one synchronous step at a time, and each step is one transaction.
 *
 * https://developers.cloudflare.com/durable-objects/
 */
import { DurableObject, type DurableObjectState } from "cloudflare:workers";

import type {
  Admission,
  AdmitOutcome,
  AdmitRequest,
  CutOff,
  FailureCountOutcome,
  Ownership,
  SessionRef,
  Settlement,
  SettleOutcome,
  TranscriptState,
} from "../../admission/admission.ts";
import type { LimitPolicy } from "../../admission/limit-policy.ts";
import { createRulesState, type RulesState } from "../../admission/rules-state.ts";
import type { StateSettings } from "../../admission/state-settings.ts";
import type { Clock } from "../../clock.ts";
import { systemClock } from "../system.ts";
import { createSqliteKeySpace, type SqliteKeySpace } from "./sqlite-key-space.ts";
import { chooseSweepPauseMs, SWEEP_EVERY_MS } from "./sweep.ts";

export interface CallOptions {
  /**
   * In milliseconds by the object's clock. Past it nothing is done: the request was answered 503.
   */
  readonly deadlineMs: number;
  readonly settings: StateSettings;
}

/**
 * The result of a call; or, where it arrived too late, the object's time in milliseconds since the
 * epoch.
 */
export type CallAnswer<Result> = { readonly result: Result } | { readonly lateAtMs: number };

/**
 * The Durable Object class. Only the Worker of the same deployment can call it; each call is one
 * step.
 */
export class StateObject extends DurableObject {
  readonly #clock: Clock;
  #space: SqliteKeySpace | undefined;
  #sweepIsDue = false;

  constructor(ctx: DurableObjectState, env: unknown, clock: Clock = systemClock) {
    super(ctx, env);
    this.#clock = clock;
  }

  admit(request: AdmitRequest, options: CallOptions): Promise<CallAnswer<AdmitOutcome>> {
    return this.#decide(options, (state) => state.admit(request));
  }

  /**
   * See `AdmissionState.settle`. It has no deadline: a settlement that was dropped would leave the chat
   * and the key leased, and the outcome unknown. Each lease has a token, so a late one is safe.
   */
  async settle(
    admission: Admission,
    settlement: Settlement,
    settings: StateSettings,
  ): Promise<SettleOutcome> {
    return this.#step(settings, (state) => state.settle(admission, settlement));
  }

  renew(
    admission: Admission,
    stateBefore: TranscriptState | undefined,
    options: CallOptions,
  ): Promise<CallAnswer<"renewed" | "lost" | "unavailable">> {
    return this.#decide(options, (state) => state.renew(admission, stateBefore));
  }

  own(
    ownership: Ownership,
    options: CallOptions,
  ): Promise<CallAnswer<"owned" | "refused" | "unavailable">> {
    return this.#decide(options, (state) => state.own(ownership));
  }

  checkSession(
    session: SessionRef,
    options: CallOptions,
  ): Promise<CallAnswer<"valid" | "revoked" | "unavailable">> {
    return this.#decide(options, (state) => state.checkSession(session));
  }

  isEnded(
    session: SessionRef,
    forMs: number,
    options: CallOptions,
  ): Promise<CallAnswer<"ended" | "not_ended" | "unavailable">> {
    return this.#decide(options, (state) => state.isEnded(session, forMs));
  }

  revokeSession(
    session: SessionRef,
    forMs: number,
    options: CallOptions,
  ): Promise<CallAnswer<"done" | "unavailable">> {
    return this.#decide(options, (state) => state.revokeSession(session, forMs));
  }

  cutOff(target: CutOff, options: CallOptions): Promise<CallAnswer<"done" | "unavailable">> {
    return this.#decide(options, (state) => state.cutOff(target));
  }

  countAuthFailure(
    addressKey: string,
    policy: LimitPolicy,
    options: CallOptions,
  ): Promise<CallAnswer<FailureCountOutcome>> {
    return this.#decide(options, (state) => state.countAuthFailure(addressKey, policy));
  }

  isReachable(options: CallOptions): Promise<CallAnswer<boolean>> {
    return this.#decide(options, (state) => state.isReachable());
  }

  /** See `RulesState.withdraw`. It has no deadline: the request was answered 503 before. */
  async withdraw(request: AdmitRequest, heard: boolean, settings: StateSettings): Promise<void> {
    await this.#step(settings, (state) => state.withdraw(request, heard));
  }

  async #decide<Result>(
    { deadlineMs, settings }: CallOptions,
    decide: (state: RulesState) => Promise<Result>,
  ): Promise<CallAnswer<Result>> {
    const nowMs = this.#clock.epochMs();
    if (nowMs > deadlineMs) return { lateAtMs: nowMs };
    return { result: await this.#step(settings, decide) };
  }

  async #step<Result>(
    settings: StateSettings,
    decide: (state: RulesState) => Promise<Result>,
  ): Promise<Result> {
    const state = createRulesState(this.#open(), () => this.#nowUs(), settings);
    // The rules run synchronously: when `decide` returns its promise, all writes are done.
    const deciding = this.ctx.storage.transactionSync(() => decide(state));
    await this.#scheduleSweep();
    return deciding;
  }

  /** Called by Cloudflare at the time of the alarm: deletes expired values. */
  async alarm(): Promise<void> {
    this.#sweepIsDue = false;
    const left = this.#open().sweep();
    if (left !== undefined) {
      await this.ctx.storage.setAlarm(Date.now() + chooseSweepPauseMs(left));
      return;
    }
    // An object without a table costs nothing. The next call creates the table again.
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
