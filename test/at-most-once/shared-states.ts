/** The states that the instances of a history share, under a clock that the history moves. */
import { Redis } from "ioredis";

import type { AdmissionState, AdmitRequest } from "../../src/admission/admission.ts";
import { createMemoryState } from "../../src/admission/memory-state.ts";
import { describeWithdrawal } from "../../src/admission/port-to-rules.ts";
import { withdrawCommand } from "../../src/admission/redis-commands.ts";
import type { StateSettings } from "../../src/admission/state-settings.ts";
import { createRedisState, type RedisConnection } from "../../src/admission/redis-state.ts";
import { redisScripts } from "../../src/admission/lua/scripts.ts";
import type { Clock } from "../../src/clock.ts";
import { REAL_NOW, SETTINGS } from "../support/state-fixtures.ts";

export interface SharedState {
  readonly state: AdmissionState;
  /** Withdraws an admission, as the state does when its answer comes too late. */
  withdraw(request: AdmitRequest, heard: boolean): Promise<void>;
  /** Called when the clock was moved to `nowMs` (milliseconds since the epoch), by `byMs`. */
  moved(nowMs: number, byMs: number): void;
}

/** Creates an empty state for one history. */
export type OpenState = (clock: Clock, settings?: StateSettings) => Promise<SharedState>;

/**
 * The in-process state, as slow as Redis, so that requests overtake one another in both or in
 * neither.
 */
export const openMemory: OpenState = (clock, settings = SETTINGS) => {
  const memory = createMemoryState(clock, settings);
  const state: AdmissionState = {
    ...memory,
    admit: (request) => later(memory.admit(request)),
    settle: (admission, settlement) => later(memory.settle(admission, settlement)),
    renew: (admission, stateBefore) => later(memory.renew(admission, stateBefore)),
  };
  const withdraw = (request: AdmitRequest, heard: boolean) =>
    later(memory.withdraw(request, heard));
  return Promise.resolve({ state, withdraw, moved: () => undefined });
};

async function later<Answer>(answer: Promise<Answer>): Promise<Answer> {
  const value = await answer;
  await new Promise((resolve) => setImmediate(resolve));
  return value;
}

const HELD_NOW = "local now = tonumber(redis.call('GET', 'test:now'))";

/**
 * Step of the held clock, in milliseconds. Redis expires keys by real time, which goes on
 * meanwhile.
 */
export const TICK_MS = 250;

/** Ages all keys by the held clock, and gives back the life that real time has taken. */
const AGE = `
for _, key in ipairs(redis.call('KEYS', '*')) do
  local left = redis.call('PTTL', key)
  if left >= 0 then
    left = math.ceil(left / ${TICK_MS}) * ${TICK_MS} - ARGV[1]
    if left > 0 then redis.call('PEXPIRE', key, left) else redis.call('DEL', key) end
  end
end
redis.call('SET', 'test:now', ARGV[2])
return 1
`;

/** The real scripts on a real Redis. Only their time comes from the history. */
export async function connectRedis(
  url: string,
): Promise<{ readonly open: OpenState; close(): void }> {
  const redis = new Redis(url);
  for (const { name, lua } of redisScripts) {
    if (lua.split(REAL_NOW).length !== 2) throw new Error(`${name} does not read the clock once`);
    const held = lua.replace(REAL_NOW, HELD_NOW);
    redis.defineCommand(name, { lua: held });
    // Scripts are loaded first: a script that has to be sent again would be overtaken by the next
    // command.
    await redis.script("LOAD", held);
  }
  redis.defineCommand("testAge", { numberOfKeys: 0, lua: AGE });
  await redis.script("LOAD", AGE);
  const connection: RedisConnection = {
    // Replies that arrive in one piece are taken one after another, as those of the in-process state
    // are: otherwise the continuations of two requests would alternate.
    run: (script, keys, args) => later(call(redis, script.name, [keys.length, ...keys, ...args])),
    onReady: () => undefined,
  };
  return {
    close: () => redis.disconnect(),
    open: async (clock, settings = SETTINGS) => {
      await redis.flushdb();
      await redis.set("test:now", clock.epochMs() * 1_000);
      const options = {
        connection,
        prefix: "",
        timeoutMs: 10_000,
        settings,
        clock,
      };
      const state = createRedisState(options);
      // A state without Redis's time asks for it first, and other commands would overtake.
      await state.checkSession({
        workspaceId: undefined,
        subjectKey: "",
        sessionKey: "",
        issuedAtMs: 0,
      });
      return {
        state,
        withdraw: async (request, heard) => {
          const withdrawal = describeWithdrawal("", request, heard, settings);
          const { script, keys, args } = withdrawCommand(withdrawal, settings);
          await connection.run(script, keys, args);
        },
        // Not awaited: one connection keeps the order.
        moved: (nowMs, byMs) => {
          call(redis, "testAge", [byMs, nowMs * 1_000]).catch(() => undefined);
        },
      };
    },
  };
}

function call(redis: Redis, name: string, args: readonly (string | number)[]): Promise<unknown> {
  const command = Reflect.get(redis, name) as (...all: unknown[]) => Promise<unknown>;
  return command.call(redis, ...args);
}
