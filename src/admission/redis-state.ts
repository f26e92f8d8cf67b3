/**
 * Owns the state shared by all instances, in Redis: it runs the scripts, within the time bound, and
 * tells "denied" from "unavailable". The connection itself is the platform's.
 */
import type { Clock } from "../clock.ts";
import type { AdmissionState, AdmitRequest, Ticket } from "./admission.ts";
import { describeLimits, type LimitPolicies } from "./limit-policy.ts";
import {
  admitScript,
  clockScript,
  cutOffScript,
  probeScript,
  type RedisScript,
  renewScript,
  revokeScript,
  settleScript,
  withdrawScript,
} from "./scripts.ts";
import {
  authFailuresKey,
  chatLockKey,
  cutOffKey,
  limitKey,
  probeKey,
  revocationKeys,
} from "./state-keys.ts";

/** What is needed of a Redis client. It fails fast while there is no connection and queues nothing. */
export interface RedisConnection {
  run(
    script: RedisScript,
    keys: readonly string[],
    args: readonly (string | number)[],
  ): Promise<unknown>;
  /** Calls back whenever a connection has come up. */
  onReady(listener: () => void): void;
}

export interface RedisStateOptions {
  readonly connection: RedisConnection;
  readonly prefix: string;
  /** Longest wait for Redis per request, in milliseconds. */
  readonly timeoutMs: number;
  readonly clock: Clock;
}

const VERDICTS = ["late", "admitted", "limited", "chat_busy", "revoked"] as const;

interface ScriptReply {
  readonly verdict: (typeof VERDICTS)[number];
  readonly nowUs: number;
  readonly tatsUs: readonly number[];
}

/** How long a higher sample of Redis's clock outweighs lower ones, in milliseconds. */
const OFFSET_KEPT_MS = 10_000;
/** Commands remembered over an outage; their locks and limits end on their own anyway. */
const AMENDS_MAX = 1_000;

const UNAVAILABLE = { kind: "unavailable" } as const;

export function createRedisState(options: RedisStateOptions): AdmissionState {
  const { connection, prefix, timeoutMs, clock } = options;
  /** Redis time minus our monotonic time, in microseconds; a little low, by a reply's way back. */
  let offsetUs: number | undefined;
  let learnedAtMs = 0;

  /** A reply that waited to be read tells too low an offset, so the highest of late is kept. */
  const learnOffset = (redisNowUs: number, forget = false) => {
    const nowMs = clock.monotonicMs();
    const sampleUs = redisNowUs - nowMs * 1_000;
    const outdated = forget || offsetUs === undefined || nowMs - learnedAtMs > OFFSET_KEPT_MS;
    if (!outdated && sampleUs < (offsetUs ?? sampleUs)) return;
    offsetUs = sampleUs;
    learnedAtMs = nowMs;
  };

  /** Commands whose fate is unknown since the connection broke; made up for once there is one. */
  let amends: Amend[] = [];
  const amendLater = (
    script: RedisScript,
    keys: readonly string[],
    args: readonly (string | number)[],
  ) => {
    if (amends.length < AMENDS_MAX) amends.push({ script, keys, args });
  };
  connection.onReady(() => {
    const due = amends;
    amends = [];
    // Whatever fails again is left to the leases and windows, which end on their own.
    for (const { script, keys, args } of due)
      connection.run(script, keys, args).catch(() => undefined);
  });

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

  /**
   * Runs a script that does nothing past its deadline, which is put before `args`.
   *
   * @returns the reply, or undefined with the promise of what may still come
   */
  const runInTime = async (script: RedisScript, keys: readonly string[], args: Amend["args"]) => {
    const deadlineMs = clock.monotonicMs() + timeoutMs;
    let running: Promise<unknown> = Promise.resolve();
    // A second try only when Redis's clock was set meanwhile: its reply has told the new time.
    for (let attempt = 0; attempt < 2; attempt += 1) {
      const deadlineUs = await resolveDeadlineUs(deadlineMs);
      if (deadlineUs === undefined) break;
      running = connection.run(script, keys, [deadlineUs, ...args]);
      const reply = parseReply(await within(deadlineMs - clock.monotonicMs(), running));
      if (reply === undefined) break;
      learnOffset(reply.nowUs, reply.verdict === "late");
      if (reply.verdict !== "late") return { reply, running };
    }
    return { reply: undefined, running };
  };

  /** Runs the one atomic step. Undefined: no answer in time, and none of its effects stays. */
  const decide = async (question: Question): Promise<ScriptReply | undefined> => {
    const { keys, policies, lockToken, issuedAtMs } = question;
    const costs = policies.flatMap(({ intervalUs, toleranceUs }) => [intervalUs, toleranceUs]);
    const { reply, running } = await runInTime(admitScript, keys, [
      lockToken,
      issuedAtMs,
      ...costs,
    ]);
    if (reply === undefined) withdrawLater(running, question);
    return reply;
  };

  /** Redis decided in time, but its word came too late: what it spent is given back. */
  const withdrawLater = (running: Promise<unknown>, question: Question) => {
    const { policies, lockToken } = question;
    const keys = question.keys.slice(0, policies.length + 1);
    const intervals = policies.map(({ intervalUs }) => intervalUs);
    const args = [lockToken, ...intervals];
    running
      .then((late) =>
        parseReply(late)?.verdict === "admitted"
          ? connection.run(withdrawScript, keys, args)
          : undefined,
      )
      .catch(() => amendLater(withdrawScript, keys, args));
  };

  const settle = async ({ workspaceId, chatId, lockToken, waitedMs }: Ticket) => {
    const key = chatLockKey(prefix, workspaceId, chatId);
    const running = connection.run(settleScript, [key], [lockToken]);
    running.catch(() => amendLater(settleScript, [key], [lockToken]));
    const reply = await within(timeoutMs - waitedMs, running);
    if (typeof reply !== "number") return "unavailable";
    return reply > 0 ? "settled" : "lost";
  };

  const renew = async ({ workspaceId, chatId, lockToken }: Ticket) => {
    const key = chatLockKey(prefix, workspaceId, chatId);
    const { reply } = await runInTime(renewScript, [key], [lockToken]);
    if (reply === undefined) return "unavailable";
    return reply.verdict === "admitted" ? "settled" : "lost";
  };

  /** Writes what ends sessions; "done" only when Redis has said so. */
  const write = async (script: RedisScript, key: string, forMs: number) => {
    const running = connection.run(script, [key], [Math.max(Math.ceil(forMs), 1)]);
    return typeof (await within(timeoutMs, running)) === "number" ? "done" : "unavailable";
  };

  return {
    async admit(request) {
      const startedMs = clock.monotonicMs();
      const { policies, workspaceId, chatId, lockToken, issuedAtMs = 0 } = request;
      const keys = listKeys(prefix, request);
      const reply = await decide({ keys, policies, lockToken, issuedAtMs });
      if (reply === undefined || reply.verdict === "late") return UNAVAILABLE;
      const limits = describeLimits(policies, reply.tatsUs, reply.nowUs);
      if (reply.verdict !== "admitted") return { kind: reply.verdict, limits };
      const waitedMs = clock.monotonicMs() - startedMs;
      return { kind: "admitted", limits, ticket: { workspaceId, chatId, lockToken, waitedMs } };
    },
    settle,
    renew,
    async checkSession(session) {
      const keys = revocationKeys(prefix, session);
      const issuedAtMs = session.issuedAtMs ?? 0;
      const reply = await decide({ keys, policies: [], lockToken: "", issuedAtMs });
      if (reply?.verdict === "admitted") return "valid";
      return reply?.verdict === "revoked" ? "revoked" : "unavailable";
    },
    revokeSession: (session, forMs) =>
      write(revokeScript, revocationKeys(prefix, session)[0], forMs),
    cutOff: ({ workspaceId, subjectKey, forMs }) =>
      write(cutOffScript, cutOffKey(prefix, workspaceId, subjectKey), forMs),
    async countAuthFailure(addressKey, policy) {
      const keys = [authFailuresKey(prefix, addressKey)];
      const reply = await decide({ keys, policies: [policy], lockToken: "", issuedAtMs: "" });
      if (reply?.verdict === "admitted") return { kind: "counted" };
      if (reply?.verdict !== "limited") return UNAVAILABLE;
      return { kind: "limited", limits: describeLimits([policy], reply.tatsUs, reply.nowUs) };
    },
    isReachable: async () => {
      const running = connection.run(probeScript, [probeKey(prefix)], []);
      return typeof (await within(timeoutMs, running)) === "number";
    },
  };
}

interface Amend {
  readonly script: RedisScript;
  readonly keys: readonly string[];
  readonly args: readonly (string | number)[];
}

/** What one run of the admission script is asked; see its KEYS and ARGV. */
interface Question {
  readonly keys: readonly string[];
  readonly policies: LimitPolicies;
  readonly lockToken: string;
  readonly issuedAtMs: number | "";
}

function listKeys(prefix: string, request: AdmitRequest): string[] {
  const keys = request.policies.map(({ name }) => limitKey(prefix, name, request));
  keys.push(chatLockKey(prefix, request.workspaceId, request.chatId));
  keys.push(...revocationKeys(prefix, request));
  return keys;
}

function parseReply(reply: unknown): ScriptReply | undefined {
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
  // A second turn of the event loop: a reply that has arrived is read before time is up.
  let timer = setTimeout(() => {
    timer = setTimeout(resolve, 0);
  }, ms);
  promise.then(resolve, () => resolve(undefined));
  const value = await answer;
  clearTimeout(timer);
  return value;
}
