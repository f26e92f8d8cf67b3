/** States for tests: the in-process one and a real Redis, under clocks that the test moves. */
import { Redis } from "ioredis";

import { createRedisState, type RedisConnection } from "../../src/admission/redis-state.ts";
import { redisScripts } from "../../src/admission/scripts.ts";
import type { AdmissionState } from "../../src/admission/admission.ts";
import type { Clock } from "../../src/clock.ts";

/** A clock that stands until it is moved. */
export interface MovableClock extends Clock {
  setEpochUs(us: number): void;
  advanceMs(ms: number): void;
}

export function createMovableClock(startMs = Date.UTC(2026, 0, 1)): MovableClock {
  let nowMs = startMs;
  return {
    epochMs: () => nowMs,
    monotonicMs: () => nowMs - startMs,
    setEpochUs: (us) => {
      nowMs = us / 1_000;
    },
    advanceMs: (ms) => {
      nowMs += ms;
    },
  };
}

/** How long a chat stays its owner's in these states, in milliseconds. */
export const OWNER_TTL_MS = 86_400_000;

export interface ShiftedRedis {
  readonly state: AdmissionState;
  readonly redis: Redis;
  /** Moves this Redis's clock forward, as its scripts see it. */
  advanceUs(us: number): Promise<void>;
  /** The time of the last decision, in microseconds. */
  lastNowUs(): number;
  /** From now on this script runs and its reply is lost, until another is named or none. */
  loseReplies(script: string | undefined): void;
  /** Tells the state that the connection is back. */
  becomeReady(): void;
  close(): void;
}

/** How the scripts read the time; fixtures put their own in its place. */
export const REAL_NOW = "local now = time[1] * 1000000 + time[2]";
const SHIFTED_NOW = `${REAL_NOW} + (redis.call('GET', 'test:shift') or 0)`;

/**
 * The real scripts on a real Redis, with one change: its clock can be moved forward. Time goes on
 * by itself meanwhile, so no key expires before the scripts see its time come.
 */
export function createShiftedRedis(url: string, prefix: string): ShiftedRedis {
  const redis = new Redis(url);
  let nowUs = 0;
  let lost: string | undefined;
  const listeners = new Set<() => void>();
  for (const { name, lua } of redisScripts) {
    if (lua.split(REAL_NOW).length !== 2) throw new Error(`${name} does not read the clock once`);
    redis.defineCommand(name, { lua: lua.replace(REAL_NOW, SHIFTED_NOW) });
  }
  const connection: RedisConnection = {
    run: async (script, keys, args) => {
      const command = Reflect.get(redis, script.name) as (...all: unknown[]) => Promise<unknown>;
      const reply = await command.call(redis, keys.length, ...keys, ...args);
      const told: unknown = Array.isArray(reply) ? reply[1] : reply;
      if (typeof told === "number") nowUs = Math.abs(told);
      if (script.name === lost) throw new Error("connection lost");
      return reply;
    },
    onReady: (listener) => void listeners.add(listener),
  };
  const clock: Clock = { epochMs: () => Date.now(), monotonicMs: () => performance.now() };
  return {
    state: createRedisState({
      connection,
      prefix,
      timeoutMs: 10_000,
      ownerTtlMs: OWNER_TTL_MS,
      clock,
    }),
    redis,
    advanceUs: async (us) => {
      await redis.incrby("test:shift", us);
    },
    lastNowUs: () => nowUs,
    loseReplies: (script) => {
      lost = script;
    },
    becomeReady: () => {
      for (const listener of listeners) listener();
    },
    close: () => redis.disconnect(),
  };
}
