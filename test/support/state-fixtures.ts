/** States for tests: the in-process state and a real Redis, with clocks that the test moves. */
import { Redis } from "ioredis";

import { createRedisState, type RedisConnection } from "../../src/admission/redis-state.ts";
import { clockScript, redisScripts } from "../../src/admission/lua/scripts.ts";
import type { AdmissionState, AdmitRequest } from "../../src/admission/admission.ts";
import { describeWithdrawal } from "../../src/admission/port-to-rules.ts";
import { withdrawCommand } from "../../src/admission/redis-commands.ts";
import {
  compileStateSettings,
  STORED_WINDOW_US,
  type StateSettings,
} from "../../src/admission/state-settings.ts";
import type { Clock } from "../../src/clock.ts";

/** A clock that stands still until the test moves it. */
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

/** Settings of these states: owners are kept for a day, and a few answers fit into the budget. */
export const SETTINGS: StateSettings = compileStateSettings({
  chats: { ownerTtlMs: 86_400_000 },
  upstream: { timeoutMs: 60_000, recoveryWindowMs: 20_000 },
  storedAnswers: { answerBytesMax: 65_536, subjectBytes: 4_194_304, workspaceBytes: 33_554_432 },
});

/** Byte budgets that a few answers exhaust. */
export const TIGHT_SETTINGS: StateSettings = {
  ...SETTINGS,
  subjectKibUs: STORED_WINDOW_US / 12,
  workspaceKibUs: STORED_WINDOW_US / 20,
};

export interface ShiftedRedis {
  readonly state: AdmissionState;
  readonly redis: Redis;
  /** Moves the clock of this Redis forward, as its scripts see it. */
  advanceUs(us: number): Promise<void>;
  /** The time of the last decision, in microseconds. */
  lastNowUs(): number;
  /** Lets this script run and lose its reply, until the next call names another script or none. */
  loseReplies(script: string | undefined): void;
  /** Withdraws an admission, as the state does when its answer comes too late. */
  withdraw(request: AdmitRequest, heard: boolean): Promise<void>;
  /** Tells the state that the connection is back. */
  becomeReady(): void;
  close(): void;
}

/** The code with which scripts read the time; fixtures replace it. */
export const REAL_NOW = "local now = time[1] * 1000000 + time[2]";
const SHIFTED_NOW = `${REAL_NOW} + (redis.call('GET', 'test:shift') or 0)`;

/**
 * The real scripts on a real Redis, with one change: the clock that scripts see can be moved
 * forward. Redis expires keys by real time, so no key expires before its time has come for the
 * scripts.
 */
export function createShiftedRedis(
  url: string,
  prefix: string,
  settings: StateSettings = SETTINGS,
): ShiftedRedis {
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
      settings,
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
    withdraw: async (request, heard) => {
      const withdrawal = describeWithdrawal(prefix, request, heard, settings);
      const { script, keys, args } = withdrawCommand(withdrawal, settings);
      const reply = await connection.run(script, keys, args);
      if (reply === 0) nowUs = Number(await connection.run(clockScript, [], []));
    },
    becomeReady: () => {
      for (const listener of listeners) listener();
    },
    close: () => redis.disconnect(),
  };
}
