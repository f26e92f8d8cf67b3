/**
 * Requests of this process that wait for the answer to a running message, and the messages that they
 * wait for. A message is known by its idempotency key. Where a request may not wait for the promise
 * of another request (Workers), only the request that runs the message is woken by its end; the
 * others ask the state.
 */
import type { Clock } from "./clock.ts";
import type { LoadGate } from "./load-gate.ts";

/** Most requests that wait for one message. A further one ends the oldest wait. */
export const WAITS_PER_KEY_MAX = 4;

/** Why a wait ended before its time. */
export type WaitEnd<Outcome> =
  | { readonly kind: "outcome"; readonly outcome: Outcome }
  /** Too many requests wait for the message, this instance stops, or the client has left. */
  | { readonly kind: "crowded" | "draining" | "left" };

/** The wait of one request. */
export interface Wait<Outcome> {
  /** Undefined while the wait may go on. */
  readonly end: WaitEnd<Outcome> | undefined;
  /** Resolves after `ms` milliseconds, or as soon as the wait ends. */
  pause: (ms: number) => Promise<void>;
  /** Must be called exactly once, when the request is answered. */
  leave(): void;
}

export interface Waits<Outcome> {
  /**
   * Begins the wait of one request.
   *
   * @param key of the message
   * @param signal is aborted when the client leaves, which ends the wait
   */
  enter(key: string, signal: AbortSignal): Wait<Outcome>;
  /**
   * Runs a message to its end, also after its request was answered.
   *
   * @param key undefined: no other request may get the outcome
   * @param own the wait of the request that runs the message, if it waits
   * @param work must not reject
   */
  run(
    key: string | undefined,
    own: Wait<Outcome> | undefined,
    work: () => Promise<Outcome>,
  ): Promise<Outcome>;
  /** Whether the end of a running message will end the waits of this key. */
  isRunning(key: string): boolean;
}

export interface WaitsOptions {
  readonly clock: Clock;
  readonly gate: Pick<LoadGate, "draining" | "onDrain">;
  /** Whether a request may wait for a promise of another request. */
  readonly joins: boolean;
  /** Keeps work of the current request going after its answer. */
  readonly keep: (work: Promise<unknown>) => void;
  /** Calls back after so many milliseconds; returns a function that cancels that. */
  readonly schedule?: (run: () => void, ms: number) => () => void;
}

interface Slot<Outcome> {
  end: WaitEnd<Outcome> | undefined;
  wake: (() => void) | undefined;
}

interface Line<Outcome> {
  readonly slots: Set<Slot<Outcome>>;
  /** When the latest request entered, in monotonic milliseconds. */
  enteredMs: number;
}

/**
 * Age at which the waits of a key are forgotten, in milliseconds: longer than the longest wait.
 * Cloudflare can end a request without notice, and its wait then never leaves.
 */
const FORGOTTEN_MS = 120_000;

/** How often a wait that no other request may wake checks whether it has ended, in milliseconds. */
const CHECK_MS = 1_000;

/** Creates the waits of one process. */
export function createWaits<Outcome>({
  clock,
  gate,
  joins,
  keep,
  schedule = scheduleTimer,
}: WaitsOptions): Waits<Outcome> {
  /** In order of the latest arrival. */
  const lines = new Map<string, Line<Outcome>>();
  const running = new Map<string, symbol>();

  const finish = (slot: Slot<Outcome>, end: WaitEnd<Outcome>, wakes: boolean) => {
    // The outcome counts even if it comes a moment after another end.
    if (slot.end?.kind === "outcome" || (slot.end !== undefined && end.kind !== "outcome")) return;
    slot.end = end;
    if (wakes) slot.wake?.();
  };

  const forgetOld = (nowMs: number) => {
    for (const [key, line] of lines) {
      if (nowMs - line.enteredMs <= FORGOTTEN_MS) break;
      lines.delete(key);
    }
  };

  const join = (key: string, slot: Slot<Outcome>): Line<Outcome> => {
    const enteredMs = clock.monotonicMs();
    forgetOld(enteredMs);
    const line: Line<Outcome> = lines.get(key) ?? { slots: new Set(), enteredMs };
    line.enteredMs = enteredMs;
    lines.delete(key);
    lines.set(key, line);
    for (const oldest of line.slots) {
      if (line.slots.size < WAITS_PER_KEY_MAX) break;
      line.slots.delete(oldest);
      finish(oldest, { kind: "crowded" }, joins);
    }
    line.slots.add(slot);
    return line;
  };

  gate.onDrain(() => {
    for (const { slots } of lines.values()) {
      for (const slot of slots) finish(slot, { kind: "draining" }, joins);
    }
  });

  const slotsOf = new WeakMap<Wait<Outcome>, Slot<Outcome>>();

  return {
    enter(key, signal) {
      const slot: Slot<Outcome> = { end: undefined, wake: undefined };
      const line = join(key, slot);
      const hangUp = () => finish(slot, { kind: "left" }, true);
      if (gate.draining) finish(slot, { kind: "draining" }, false);
      if (signal.aborted) hangUp();
      else signal.addEventListener("abort", hangUp, { once: true });
      const wait: Wait<Outcome> = {
        get end() {
          return slot.end;
        },
        async pause(ms) {
          for (let leftMs = ms; leftMs > 0 && slot.end === undefined; leftMs -= CHECK_MS) {
            const { promise, resolve } = Promise.withResolvers<void>();
            slot.wake = resolve;
            // Another request that ends this wait wakes it only where it may.
            const cancel = schedule(resolve, joins ? ms : Math.min(leftMs, CHECK_MS));
            await promise;
            slot.wake = undefined;
            cancel();
            if (joins) return;
          }
        },
        leave() {
          signal.removeEventListener("abort", hangUp);
          line.slots.delete(slot);
          if (line.slots.size === 0 && lines.get(key) === line) lines.delete(key);
        },
      };
      slotsOf.set(wait, slot);
      return wait;
    },
    run(key, own, work) {
      const run = Symbol("run");
      const shared = joins ? key : undefined;
      if (shared !== undefined) running.set(shared, run);
      const ended = work().then((outcome) => {
        const end = { kind: "outcome", outcome } as const;
        const slot = own && slotsOf.get(own);
        if (slot !== undefined) finish(slot, end, true);
        // A newer run of the same key, after this one had lost its lease, ends the waits itself.
        if (shared === undefined || running.get(shared) !== run) return outcome;
        running.delete(shared);
        for (const waiting of lines.get(shared)?.slots ?? []) finish(waiting, end, true);
        return outcome;
      });
      keep(ended);
      return ended;
    },
    isRunning: (key) => running.has(key),
  };
}

function scheduleTimer(run: () => void, ms: number): () => void {
  const timer = setTimeout(run, ms);
  return () => clearTimeout(timer);
}
