/**
 * Owns the state shared by all instances, in Redis: it runs the scripts, within the time bound, and
 * tells "denied" from "unavailable". The connection itself is the platform's.
 */
import type { Clock } from "../clock.ts";
import type { AdmissionState, AdmitRequest, SettleOutcome, Ticket } from "./admission.ts";
import type { LimitPolicies } from "./limit-policy.ts";
import { describeLimits } from "./memory-state.ts";
import {
  admitScript,
  clockScript,
  type RedisScript,
  renewScript,
  settleScript,
  withdrawScript,
} from "./scripts.ts";
import { authFailuresKey, chatLockKey, limitKey } from "./state-keys.ts";

/** What is needed of a Redis client. It fails fast while there is no connection and queues nothing. */
export interface RedisConnection {
  run(
    script: RedisScript,
    keys: readonly string[],
    args: readonly (string | number)[],
  ): Promise<unknown>;
}

export interface RedisStateOptions {
  readonly connection: RedisConnection;
  readonly prefix: string;
  /** Longest wait for Redis per request, in milliseconds. */
  readonly timeoutMs: number;
  readonly clock: Clock;
}

const VERDICTS = ["late", "admitted", "limited", "chat_busy"] as const;

interface AdmitReply {
  readonly verdict: (typeof VERDICTS)[number];
  readonly nowUs: number;
  readonly tatsUs: readonly number[];
}

const UNAVAILABLE = { kind: "unavailable" } as const;

export function createRedisState(options: RedisStateOptions): AdmissionState {
  const { connection, prefix, timeoutMs, clock } = options;
  /** Redis time minus our monotonic time, in microseconds; a little low, by a reply's way back. */
  let offsetUs: number | undefined;

  const learnOffset = (redisNowUs: number) => {
    offsetUs = redisNowUs - clock.monotonicMs() * 1_000;
  };

  /** Redis's time at `deadlineMs` of our clock, or undefined when Redis does not say its time. */
  const resolveDeadlineUs = async (deadlineMs: number): Promise<number | undefined> => {
    if (offsetUs === undefined) {
      const now = await within(
        deadlineMs - clock.monotonicMs(),
        connection.run(clockScript, [], []),
      );
      if (typeof now === "number") learnOffset(now);
    }
    return offsetUs === undefined ? undefined : Math.floor(deadlineMs * 1_000 + offsetUs);
  };

  /** Runs the one atomic step. Undefined: no answer in time, and none of its effects stays. */
  const decide = async (
    keys: readonly string[],
    policies: LimitPolicies,
    lockToken: string,
  ): Promise<AdmitReply | undefined> => {
    const deadlineMs = clock.monotonicMs() + timeoutMs;
    const costs = policies.flatMap(({ intervalUs, toleranceUs }) => [intervalUs, toleranceUs]);
    // A second try only when Redis's clock was set meanwhile: its reply has told the new time.
    for (let attempt = 0; attempt < 2; attempt += 1) {
      const deadlineUs = await resolveDeadlineUs(deadlineMs);
      if (deadlineUs === undefined) return undefined;
      const running = connection.run(admitScript, keys, [deadlineUs, lockToken, ...costs]);
      const reply = parseAdmitReply(await within(deadlineMs - clock.monotonicMs(), running));
      if (reply === undefined) {
        withdrawLater(running, keys, policies, lockToken);
        return undefined;
      }
      learnOffset(reply.nowUs);
      if (reply.verdict !== "late") return reply;
    }
    return undefined;
  };

  /** Redis decided in time, but its word came too late: what it spent is given back. */
  const withdrawLater = (
    running: Promise<unknown>,
    keys: readonly string[],
    policies: LimitPolicies,
    lockToken: string,
  ) => {
    const intervals = policies.map(({ intervalUs }) => intervalUs);
    running
      .then((late) =>
        parseAdmitReply(late)?.verdict === "admitted"
          ? connection.run(withdrawScript, keys, [lockToken, ...intervals])
          : undefined,
      )
      // Redis is out; the lock's lease and the limit's window end on their own.
      .catch(() => undefined);
  };

  const touchLock = async (script: RedisScript, ticket: Ticket): Promise<SettleOutcome> => {
    const key = chatLockKey(prefix, ticket.workspaceId, ticket.chatId);
    const running = connection.run(script, [key], [ticket.lockToken]);
    const reply = await within(timeoutMs - ticket.waitedMs, running);
    if (typeof reply !== "number") return "unavailable";
    return reply > 0 ? "settled" : "lost";
  };

  return {
    async admit(request) {
      const startedMs = clock.monotonicMs();
      const { policies, workspaceId, chatId, lockToken } = request;
      const reply = await decide(listKeys(prefix, request), policies, lockToken);
      if (reply === undefined || reply.verdict === "late") return UNAVAILABLE;
      const limits = describeLimits(policies, reply.tatsUs, reply.nowUs);
      if (reply.verdict !== "admitted") return { kind: reply.verdict, limits };
      const waitedMs = clock.monotonicMs() - startedMs;
      return { kind: "admitted", limits, ticket: { workspaceId, chatId, lockToken, waitedMs } };
    },
    settle: (ticket) => touchLock(settleScript, ticket),
    renew: (ticket) => touchLock(renewScript, { ...ticket, waitedMs: 0 }),
    async countAuthFailure(addressKey, policy) {
      const reply = await decide([authFailuresKey(prefix, addressKey)], [policy], "");
      switch (reply?.verdict) {
        case "admitted":
          return { kind: "counted" };
        case "limited":
          return { kind: "limited", limits: describeLimits([policy], reply.tatsUs, reply.nowUs) };
        case "chat_busy":
        case "late":
        case undefined:
          return UNAVAILABLE;
      }
    },
    isReachable: async () =>
      typeof (await within(timeoutMs, connection.run(clockScript, [], []))) === "number",
  };
}

function listKeys(prefix: string, request: AdmitRequest): string[] {
  const keys = request.policies.map(({ name }) => limitKey(prefix, name, request));
  keys.push(chatLockKey(prefix, request.workspaceId, request.chatId));
  return keys;
}

function parseAdmitReply(reply: unknown): AdmitReply | undefined {
  if (!Array.isArray(reply)) return undefined;
  const numbers: unknown[] = reply;
  if (!numbers.every((item) => typeof item === "number")) return undefined;
  const [verdictIndex, nowUs, ...tatsUs] = numbers;
  const verdict = VERDICTS[verdictIndex ?? -1];
  return verdict === undefined || nowUs === undefined ? undefined : { verdict, nowUs, tatsUs };
}

/** The promise's value, or undefined when it fails or takes longer. The promise itself goes on. */
async function within(ms: number, promise: Promise<unknown>): Promise<unknown> {
  if (ms <= 0) {
    promise.catch(() => undefined);
    return undefined;
  }
  const { promise: answer, resolve } = Promise.withResolvers<unknown>();
  const timer = setTimeout(resolve, ms);
  promise.then(resolve, () => resolve(undefined));
  const value = await answer;
  clearTimeout(timer);
  return value;
}
