/**
 * The system that a history runs on: instances that share one state and one upstream, clients, and
 * a clock that the history moves. All events are reported to the `Watch`, which checks the
 * invariants.
 */
import { AsyncLocalStorage } from "node:async_hooks";

import type { AdmitRequest } from "../../src/admission/admission.ts";
import type { StateSettings } from "../../src/admission/state-settings.ts";
import type { MessageOutcome } from "../../src/chat/present-answer.ts";
import type { Services } from "../../src/services.ts";
import type { UpstreamReply, UpstreamRequest } from "../../src/upstream/transport.ts";
import { createTestApp, type TestApp } from "../support/app-fixture.ts";
import { createWaits, type Wait } from "../../src/waits.ts";
import { mintToken } from "../support/session-tokens.ts";
import { createMovableClock } from "../support/state-fixtures.ts";
import { type Activity, befall, type Instance, pass, type Point, resume } from "./instance.ts";
import type { OpenState, SharedState } from "./shared-states.ts";
import { describeLook, type Look, type PostScript, UpstreamModel } from "./upstream-model.ts";
import { Watch } from "./watch.ts";

export const SLOTS = 3;
const START_MS = Date.UTC(2026, 0, 1);
/** Latest time after a send at which UponAI takes or answers a message, in milliseconds. */
const LATEST_MS = 86_400_000;

export interface Asked {
  readonly do: "send" | "read";
  readonly slot: number;
  readonly subject: string;
  readonly chatId: string;
  readonly content: string;
  readonly key: string | undefined;
  /** Seconds of the bounded wait; 0: `respond-async` alone; undefined: no `Prefer`. */
  readonly prefer?: number | undefined;
  readonly post: PostScript;
  readonly looks: readonly Look[];
  /** The state answers the admission too late, and the admission is withdrawn. */
  readonly unheard?: "heard-late" | "never-heard" | undefined;
}

export type Told =
  | {
      readonly kind: "answered";
      readonly status: number;
      readonly body: string;
      readonly code: string | undefined;
      readonly replayed: boolean;
      readonly recovered: boolean;
    }
  | { readonly kind: "cut" };

/** One request of a client. */
export interface Attempt {
  readonly id: string;
  readonly asked: Asked;
  readonly instance: Instance;
  /** When the request asked for admission, in milliseconds since the epoch. */
  admittedAtMs: number;
  /** Resolves when the request has asked for admission, or is held up before that. */
  readonly arrived: PromiseWithResolvers<void>;
  readonly client: AbortController;
  readonly looks: Look[];
  /** True if the lease may have run out while the request was in progress. */
  lapsed: boolean;
  /** True while the instance runs the message apart from its request, with a bounded wait. */
  running: boolean;
  told: Told | undefined;
}

interface Timer {
  readonly attempt: Attempt;
  readonly everyMs: number;
  readonly run: () => void;
  nextAtMs: number;
}

interface Due {
  readonly atMs: number;
  readonly run: () => void;
}

/** The request that a call belongs to. */
const callers = new AsyncLocalStorage<Attempt>();
let current: World | undefined;

/**
 * The applications, created once and shared by all histories: they keep only requests in progress.
 */
export interface Fleet {
  readonly apps: readonly TestApp[];
  readonly tokens: ReadonlyMap<string, string>;
}

export const SUBJECTS = ["alice", "bob"] as const;

export async function createFleet(environment: Record<string, string>): Promise<Fleet> {
  const tokens = new Map<string, string>();
  const iat = START_MS / 1_000 - 60;
  for (const sub of SUBJECTS) {
    tokens.set(sub, await mintToken({ sub, iat, exp: iat + 315_360_000 }));
  }
  const apps: TestApp[] = [];
  while (apps.length < SLOTS) {
    const services = describeServices();
    apps.push(await createTestApp({ environment, services }));
  }
  return { apps, tokens };
}

function here(): World {
  if (current === undefined) throw new Error("there is no history");
  return current;
}

function caller(): Attempt {
  const attempt = callers.getStore();
  if (attempt === undefined) throw new Error("nobody asks");
  return attempt;
}

/**
 * Runs a call to the state. An accident can stop the instance before the call or before its reply.
 */
async function through<Answer>(
  before: Point,
  ask: (instance: Instance) => Promise<Answer>,
  after: Point,
): Promise<Answer> {
  const { instance } = caller();
  await pass(instance, before);
  const answer = await ask(instance);
  await pass(instance, after);
  return answer;
}

/** Services that delegate to the current history, for the request that the call belongs to. */
function describeServices(): Partial<Services> {
  return {
    clock: { epochMs: () => here().clock.epochMs(), monotonicMs: () => here().clock.monotonicMs() },
    gate: {
      requireRunning: () => undefined,
      requireRoom: () => undefined,
      enter: () => undefined,
      leave: () => undefined,
      announceStop: () => undefined,
      // The waits of each instance hear of its drain; see `#startInstance`.
      onDrain: () => undefined,
      stopping: false,
      drain: () => Promise.resolve(),
      inFlight: 0,
      get draining() {
        return caller().instance.draining;
      },
    },
    createId: () => here().createId(),
    waits: {
      enter: (key, signal) => here().enterWait(caller(), key, signal),
      isRunning: (key) => caller().instance.waits.isRunning(key),
      run: (key, own, work) => {
        const attempt = caller();
        return attempt.instance.waits.run(key, own, () => here().runApart(attempt, work));
      },
    },
    // A call that is held back here is never sent, and proves nothing.
    circuits: { enter: () => ({ record: () => undefined }), state: "closed" },
    pause: async (ms) => {
      const { instance } = caller();
      await here().waitMs(ms);
      await pass(instance, "after-upstream");
    },
    transport: async (request) => {
      const attempt = caller();
      await pass(attempt.instance, "before-upstream");
      const reply = await here().reach(attempt, request);
      await pass(attempt.instance, "after-upstream");
      return reply;
    },
    state: {
      admit: async (request) => {
        const attempt = caller();
        const { instance, arrived } = attempt;
        if (instance.health !== "well" || instance.ambush?.point === "before-admit") {
          arrived.resolve();
        }
        const ask = async () => {
          attempt.admittedAtMs = here().clock.epochMs();
          const admitting = instance.state.admit(request);
          arrived.resolve();
          const admitted = await admitting;
          const { unheard } = attempt.asked;
          if (unheard !== undefined && ["admitted", "unresolved"].includes(admitted.kind)) {
            await here().withdraw(request, unheard === "heard-late");
            await here().gathered();
            return { kind: "unavailable" } as const;
          }
          await here().gathered();
          return admitted;
        };
        return through("before-admit", ask, "after-admit");
      },
      settle: (admission, settlement) =>
        through(
          "before-settle",
          ({ state }) => state.settle(admission, settlement),
          "after-settle",
        ),
      own: (ownership) =>
        through("before-admit", ({ state }) => state.own(ownership), "after-admit"),
      renew: async (admission, stateBefore) => {
        const { state, health, activity } = caller().instance;
        if (health !== "well") return "unavailable";
        activity.busy += 1;
        try {
          return await state.renew(admission, stateBefore);
        } finally {
          activity.busy -= 1;
        }
      },
      checkSession: (session) => caller().instance.state.checkSession(session),
      isEnded: (session, forMs) => caller().instance.state.isEnded(session, forMs),
      revokeSession: (session, forMs) => caller().instance.state.revokeSession(session, forMs),
      cutOff: (order) => caller().instance.state.cutOff(order),
      countAuthFailure: (address, policy) =>
        caller().instance.state.countAuthFailure(address, policy),
      isReachable: () => Promise.resolve(true),
    },
  };
}

/** Replaces the timers of calls that belong to a request by timers of the history. */
export function holdTimers(): () => void {
  const real = { set: globalThis.setInterval, clear: globalThis.clearInterval };
  const set = (run: () => void, everyMs: number) => {
    const attempt = callers.getStore();
    if (attempt === undefined || current === undefined) {
      return real.set(run, everyMs);
    }
    return current.addTimer(attempt, run, everyMs);
  };
  const clear = (timer: unknown) => {
    if (current?.removeTimer(timer) !== true) Reflect.apply(real.clear, globalThis, [timer]);
  };
  Object.assign(globalThis, { setInterval: set, clearInterval: clear });
  return () => {
    Object.assign(globalThis, { setInterval: real.set, clearInterval: real.clear });
  };
}

export class World {
  readonly clock = createMovableClock(START_MS);
  readonly upstream = new UpstreamModel();
  readonly watch = new Watch();
  readonly attempts: Attempt[] = [];
  /** Number of the chat that most steps use now. */
  chat = 0;
  readonly #activity: Activity = { busy: 0 };
  readonly #fleet: Fleet;
  readonly #shared: SharedState;
  readonly #instances: Instance[];
  #gathering: Promise<void> | undefined;
  #timers: Timer[] = [];
  #dues: Due[] = [];
  #ids = 0;

  private constructor(fleet: Fleet, shared: SharedState) {
    this.#fleet = fleet;
    this.#shared = shared;
    this.#instances = fleet.apps.map((_, slot) => this.#startInstance(slot));
  }

  static async create(fleet: Fleet, open: OpenState, settings?: StateSettings): Promise<World> {
    const clock = createMovableClock(START_MS);
    const delegating = {
      epochMs: () => (current?.clock ?? clock).epochMs(),
      monotonicMs: () => (current?.clock ?? clock).monotonicMs(),
    };
    current = undefined;
    const world = new World(fleet, await open(delegating, settings));
    current = world;
    return world;
  }

  createId(): string {
    this.#ids += 1;
    return `id-${this.#ids}`;
  }

  withdraw(request: AdmitRequest, heard: boolean): Promise<void> {
    return this.#shared.withdraw(request, heard);
  }

  instance(slot: number): Instance {
    const instance = this.#instances[slot % SLOTS];
    if (instance === undefined) throw new Error("there is no such instance");
    return instance;
  }

  active(): Attempt[] {
    return this.attempts.filter(({ told, running }) => told === undefined || running);
  }

  /** Begins the bounded wait of a request. While it lasts, the request does not count as busy. */
  enterWait(attempt: Attempt, key: string, signal: AbortSignal): Wait<MessageOutcome> {
    const wait = attempt.instance.waits.enter(key, signal);
    const pause = wait.pause.bind(wait);
    wait.pause = (ms) => this.#parked(pause(ms));
    return wait;
  }

  /** Runs a message that goes on after the answer to its request. */
  async runApart<Value>(attempt: Attempt, work: () => Promise<Value>): Promise<Value> {
    this.#activity.busy += 1;
    // On an instance that has crashed meanwhile it never ends.
    attempt.running = attempt.instance.health !== "dead";
    const value = await work();
    attempt.running = false;
    this.#activity.busy -= 1;
    return value;
  }

  drain(slot: number): void {
    const instance = this.instance(slot);
    instance.draining = !instance.draining;
    if (instance.draining) for (const listener of instance.drainListeners) listener();
  }

  #startInstance(slot: number): Instance {
    const drainListeners: (() => void)[] = [];
    const instance: Instance = {
      slot,
      state: this.#shared.state,
      activity: this.#activity,
      drainListeners,
      waits: createWaits({
        clock: this.clock,
        gate: {
          onDrain: (listener) => void drainListeners.push(listener),
          get draining() {
            return instance.draining;
          },
        },
        // The last instance is like Workers: a request does not wait for another one's promise.
        joins: slot < SLOTS - 1,
        keep: () => undefined,
        schedule: (run, ms) => this.#schedule(run, ms),
      }),
      health: "well",
      draining: false,
      ambush: undefined,
      caught: [],
      onAccident: (instance) => {
        for (const attempt of this.active()) {
          if (attempt.instance !== instance) continue;
          attempt.lapsed = true;
          if (instance.health !== "dead") continue;
          attempt.running = false;
          if (attempt.told === undefined) this.#tell(attempt, { kind: "cut" });
        }
        if (instance.health !== "dead") return;
        this.#timers = this.#timers.filter(({ attempt }) => attempt.instance !== instance);
        this.#instances[slot] = this.#startInstance(slot);
      },
    };
    return instance;
  }

  #schedule(run: () => void, ms: number): () => void {
    const due = { atMs: this.clock.epochMs() + ms, run };
    this.#dues.push(due);
    return () => {
      this.#dues = this.#dues.filter((other) => other !== due);
    };
  }

  /** Starts concurrent requests: they ask for admission in order, and then run together. */
  async start(...all: readonly Asked[]): Promise<readonly Attempt[]> {
    const gathering = Promise.withResolvers<void>();
    this.#gathering = gathering.promise;
    const attempts: Attempt[] = [];
    for (const asked of all) {
      const attempt = this.#startOne(asked);
      attempts.push(attempt);
      await attempt.arrived.promise;
    }
    await this.quiet();
    this.#gathering = undefined;
    gathering.resolve();
    await this.quiet();
    return attempts;
  }

  /** Resolves when admission of all concurrently started requests is decided. */
  async gathered(): Promise<void> {
    if (this.#gathering !== undefined) await this.#parked(this.#gathering);
  }

  #startOne(asked: Asked): Attempt {
    const instance = this.instance(asked.slot);
    const attempt: Attempt = {
      id: `r${this.attempts.length + 1}`,
      asked,
      instance,
      admittedAtMs: this.clock.epochMs(),
      arrived: Promise.withResolvers(),
      client: new AbortController(),
      looks: [...asked.looks],
      lapsed: instance.health !== "well",
      running: false,
      told: undefined,
    };
    this.attempts.push(attempt);
    this.watch.started(attempt);
    this.#activity.busy += 1;
    void callers.run(attempt, () => this.#serve(attempt));
    return attempt;
  }

  async #serve(attempt: Attempt): Promise<void> {
    const { asked, id, client, instance } = attempt;
    const { app } = this.#fleet.apps[asked.slot % SLOTS] ?? {};
    if (app === undefined) throw new Error("there is no such instance");
    const headers: Record<string, string> = {
      Authorization: `Bearer ${this.#fleet.tokens.get(asked.subject) ?? ""}`,
      "X-Request-Id": id,
    };
    if (asked.key !== undefined) headers["Idempotency-Key"] = asked.key;
    if (asked.prefer !== undefined) {
      headers["Prefer"] = `respond-async${asked.prefer === 0 ? "" : `, wait=${asked.prefer}`}`;
    }
    const { signal } = client;
    const path = `/chat/${asked.chatId}`;
    const response =
      asked.do === "read"
        ? await app.request(path, { headers, signal })
        : await app.request(`${path}/send`, {
            method: "POST",
            headers: { ...headers, "Content-Type": "application/json" },
            body: JSON.stringify({ content: asked.content }),
            signal,
          });
    const body = await response.text();
    await pass(instance, "before-answer");
    const said: unknown = JSON.parse(body);
    const code = (said as { code?: string }).code;
    this.#tell(attempt, {
      kind: "answered",
      status: response.status,
      body,
      code,
      replayed: response.headers.get("idempotency-replayed") === "true",
      recovered: response.headers.get("message-recovered") === "true",
    });
    this.#activity.busy -= 1;
  }

  #tell(attempt: Attempt, told: Told): void {
    attempt.told = told;
    attempt.arrived.resolve();
    this.watch.told(attempt, told);
  }

  /** The transport: a call of an instance to UponAI, and its reply. */
  async reach(
    attempt: Attempt,
    { method, path, timeoutMs }: UpstreamRequest,
  ): Promise<UpstreamReply> {
    const { chatId, content, post: script } = attempt.asked;
    if (method === "GET") return this.#look(attempt, timeoutMs);
    if (!path.endsWith("/completions")) throw new Error(`nobody asked for ${path}`);
    const { post, reply } = this.upstream.post(
      attempt.id,
      chatId,
      content,
      this.clock.epochMs(),
      script,
    );
    this.watch.posted(attempt, post);
    this.#dues.push({
      atMs: this.clock.epochMs() + timeoutMs,
      run: () => this.upstream.giveUp(post),
    });
    this.#dues.push({ atMs: post.sentAtMs + LATEST_MS, run: () => this.upstream.drop(post) });
    return this.#parked(reply);
  }

  async #look(attempt: Attempt, timeoutMs: number): Promise<UpstreamReply> {
    const look = attempt.looks.shift() ?? "seen";
    const shown = describeLook(this.upstream, attempt.asked.chatId, look);
    if (look === "stale") await this.waitMs(Math.min(2_000, timeoutMs));
    if (look === "hangs") await this.waitMs(timeoutMs);
    return shown;
  }

  /** Resolves when `ms` milliseconds of the history's clock have passed. */
  waitMs(ms: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    if (ms <= 0) return Promise.resolve();
    this.#dues.push({ atMs: this.clock.epochMs() + ms, run: resolve });
    return this.#parked(promise);
  }

  /** Awaits a promise without counting as busy. */
  async #parked<Value>(promise: Promise<Value>): Promise<Value> {
    this.#activity.busy -= 1;
    const value = await promise;
    this.#activity.busy += 1;
    return value;
  }

  addTimer(attempt: Attempt, run: () => void, everyMs: number): Timer {
    const timer: Timer = { attempt, run, everyMs, nextAtMs: this.clock.epochMs() + everyMs };
    this.#timers.push(timer);
    return timer;
  }

  removeTimer(timer: unknown): boolean {
    const left = this.#timers.filter((other) => other !== timer);
    const removed = left.length < this.#timers.length;
    this.#timers = left;
    return removed;
  }

  /** Resolves when all requests wait for the clock or for a later step. */
  async quiet(): Promise<void> {
    for (let turns = 0; ; turns += 1) {
      await new Promise((resolve) => setImmediate(resolve));
      if (this.#activity.busy === 0) return;
      if (turns > 200_000) throw new Error("it never gets quiet");
    }
  }

  /**
   * Moves the clock by `ms` and runs the timers that fall due, in order.
   *
   * @param renewals true if healthy instances renew their leases meanwhile
   */
  async advance(ms: number, renewals: boolean): Promise<void> {
    const untilMs = this.clock.epochMs() + ms;
    if (!renewals) for (const attempt of this.active()) attempt.lapsed = true;
    const ticking = () =>
      renewals ? this.#timers.filter(({ attempt }) => attempt.instance.health === "well") : [];
    await this.quiet();
    for (;;) {
      const nextMs = Math.min(
        ...this.#dues.map(({ atMs }) => atMs),
        ...ticking().map(({ nextAtMs }) => nextAtMs),
      );
      if (nextMs > untilMs) break;
      this.#moveTo(nextMs);
      const due = this.#dues.filter(({ atMs }) => atMs <= nextMs);
      this.#dues = this.#dues.filter(({ atMs }) => atMs > nextMs);
      for (const { run } of due) run();
      for (const timer of ticking()) {
        if (timer.nextAtMs > nextMs) continue;
        timer.nextAtMs = nextMs + timer.everyMs;
        callers.run(timer.attempt, timer.run);
      }
      await this.quiet();
      if (!renewals) for (const attempt of this.active()) attempt.lapsed = true;
    }
    this.#moveTo(untilMs);
    // Timers that could not run are due again after their interval.
    for (const timer of this.#timers) {
      if (timer.nextAtMs <= untilMs) timer.nextAtMs = untilMs + timer.everyMs;
    }
  }

  #moveTo(nowMs: number): void {
    const byMs = nowMs - this.clock.epochMs();
    if (byMs <= 0) return;
    this.clock.advanceMs(byMs);
    this.#shared.moved(nowMs, byMs);
  }

  /** Runs all requests in progress to their end. */
  async settle(): Promise<void> {
    for (const instance of this.#instances) {
      instance.ambush = undefined;
      instance.draining = false;
      if (instance.health === "stalled") await this.resume(instance.slot);
    }
    for (let turns = 0; this.active().length > 0; turns += 1) {
      if (turns > 1_000) throw new Error("a request never ends");
      await this.advance(5_000, true);
    }
  }

  resume(slot: number): Promise<void> {
    return resume(this.instance(slot), () => this.quiet());
  }

  /** Crashes the instances that have stalled for too long. */
  endStalls(): void {
    for (const instance of this.#instances) {
      if (instance.health === "stalled") befall(instance, "crash");
    }
  }
}
