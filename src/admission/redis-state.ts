/**
 * Owns the state shared by all instances, in Redis: it runs the scripts, within the time bound, and
 * tells "denied" from "unavailable". The connection itself is the platform's.
 */
import type { Clock } from "../clock.ts";
import type { AdmissionState, AdmitRequest } from "./admission.ts";
import { describeLimits, type LimitPolicies } from "./limit-policy.ts";
import { describeOutcome } from "./outcome.ts";
import { markerOf } from "./records.ts";
import {
  listArgs,
  listKeys,
  listMessageKeys,
  listSettlement,
  NO_CHAT,
  parseReply,
  type RedisCommand,
  type ScriptReply,
} from "./redis-commands.ts";
import type { RedisScript } from "./script.ts";
import {
  admitScript,
  clockScript,
  cutOffScript,
  probeScript,
  revokeScript,
  withdrawScript,
} from "./scripts.ts";
import { ownScript, renewScript, SETTLED } from "./settle-scripts.ts";
import { authFailuresKey, chatKeys, cutOffKey, probeKey, revocationKeys } from "./state-keys.ts";
import { formatMark } from "./transcript-mark.ts";

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
  /** How long a chat stays its owner's after its last use, in milliseconds. */
  readonly ownerTtlMs: number;
  readonly clock: Clock;
}

/** How long a higher sample of Redis's clock outweighs lower ones, in milliseconds. */
const OFFSET_KEPT_MS = 10_000;
/** Characters of commands remembered over an outage; what is dropped ends on its own anyway. */
const AMENDS_CHARS_MAX = 4_000_000;

const UNAVAILABLE = { kind: "unavailable" } as const;

export function createRedisState(options: RedisStateOptions): AdmissionState {
  const { connection, prefix, timeoutMs, ownerTtlMs, clock } = options;
  const ownerTtlUs = ownerTtlMs * 1_000;
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
  let amends: RedisCommand[] = [];
  let amendsChars = 0;
  const amendLater = (
    script: RedisScript,
    keys: readonly string[],
    args: readonly (string | number)[],
  ) => {
    const texts: readonly (string | number)[] = [...keys, ...args];
    const chars = texts.reduce((sum: number, text) => sum + String(text).length, 0);
    if (amendsChars + chars > AMENDS_CHARS_MAX) return;
    amendsChars += chars;
    amends.push({ script, keys, args });
  };
  connection.onReady(() => {
    const due = amends;
    amends = [];
    amendsChars = 0;
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
  const runInTime = async (
    script: RedisScript,
    keys: readonly string[],
    args: RedisCommand["args"],
  ) => {
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
    const { keys, policies, args } = question;
    const costs = policies.flatMap(({ intervalUs, toleranceUs }) => [intervalUs, toleranceUs]);
    const { reply, running } = await runInTime(admitScript, keys, [...args, ...costs]);
    if (reply === undefined) withdrawLater(running, question);
    return reply;
  };

  /** Redis decided in time, but its word came too late: what it spent is given back. */
  const withdrawLater = (running: Promise<unknown>, { keys, policies, request }: Question) => {
    const intervals = policies.map(({ intervalUs }) => intervalUs);
    const limits = keys.slice(0, policies.length);
    const chat = request && listMessageKeys(prefix, request);
    const message = request?.chat?.message;
    const named = message === undefined ? ["", ""] : [message.token, markerOf(message)];
    const withdrawn: RedisCommand = {
      script: withdrawScript,
      keys: chat === undefined ? limits : [...limits, ...chat],
      args: ["", ...named, ...intervals],
    };
    running
      .then((late) => {
        if (!SPENDING.has(parseReply(late)?.verdict)) return undefined;
        return connection.run(withdrawScript, withdrawn.keys, ["1", ...withdrawn.args.slice(1)]);
      })
      .catch(() => amendLater(withdrawScript, withdrawn.keys, withdrawn.args));
  };

  const settle: AdmissionState["settle"] = async (ticket, settlement) => {
    const amend = listSettlement({ prefix, ownerTtlUs }, ticket, settlement);
    if (amend === undefined) return "settled";
    const { script, keys, args } = amend;
    const running = connection.run(script, keys, args);
    running.catch(() => amendLater(script, keys, args));
    const reply = await within(timeoutMs - ticket.waitedMs, running);
    const result = Array.isArray(reply) ? SETTLED[Number(reply[0])] : undefined;
    return result === undefined || result === "" ? "unavailable" : result;
  };

  const renew: AdmissionState["renew"] = async ({ request, role }, markBefore) => {
    const { workspaceId, chat } = request;
    if (chat?.message === undefined) return "lost";
    const { lock, record } = chatKeys(prefix, { workspaceId, chat });
    const sending = role === "sender";
    const keys = [...(sending ? [lock] : []), ...(record === undefined ? [] : [record])];
    const { token, fingerprint } = chat.message;
    const args = [token, sending ? "1" : "", fingerprint, formatMark(markBefore)];
    const { reply } = await runInTime(renewScript, keys, args);
    if (reply === undefined) return "unavailable";
    return reply.verdict === "admitted" ? "renewed" : "lost";
  };

  /** Writes what ends sessions; "done" only when Redis has said so. */
  const write = async (script: RedisScript, key: string, forMs: number) => {
    const running = connection.run(script, [key], [Math.max(Math.ceil(forMs), 1)]);
    return typeof (await within(timeoutMs, running)) === "number" ? "done" : "unavailable";
  };

  return {
    async admit(request) {
      const startedMs = clock.monotonicMs();
      const { policies } = request;
      const keys = listKeys(prefix, request);
      const args = listArgs(request, ownerTtlUs);
      const reply = await decide({ keys, policies, args, request });
      if (reply === undefined || reply.verdict === "late") return UNAVAILABLE;
      const { verdict, tatsUs, detail, nowUs } = reply;
      const waitedMs = clock.monotonicMs() - startedMs;
      return describeOutcome(request, { verdict, tatsUs, detail }, nowUs, waitedMs);
    },
    settle,
    renew,
    async own({ workspaceId, subjectKey, chatId, mark, stamped }) {
      const { owner, tally } = chatKeys(prefix, { workspaceId, chat: { chatId } });
      const running = connection.run(
        ownScript,
        [owner, tally],
        [subjectKey, ownerTtlUs, formatMark(mark), stamped ? "1" : ""],
      );
      const reply = await within(timeoutMs, running);
      if (!Array.isArray(reply)) return "unavailable";
      return reply[0] === 1 ? "owned" : "refused";
    },
    async checkSession(session) {
      const keys = revocationKeys(prefix, session);
      const args = [session.issuedAtMs ?? 0, ...NO_CHAT];
      const reply = await decide({ keys, policies: [], args });
      if (reply?.verdict === "admitted") return "valid";
      return reply?.verdict === "revoked" ? "revoked" : "unavailable";
    },
    revokeSession: (session, forMs) =>
      write(revokeScript, revocationKeys(prefix, session)[0], forMs),
    cutOff: ({ workspaceId, subjectKey, forMs }) =>
      write(cutOffScript, cutOffKey(prefix, workspaceId, subjectKey), forMs),
    async countAuthFailure(addressKey, policy) {
      const keys = [authFailuresKey(prefix, addressKey)];
      const reply = await decide({ keys, policies: [policy], args: ["", ...NO_CHAT] });
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

/** What one run of the admission script is asked; see its KEYS and ARGV. */
interface Question {
  readonly keys: readonly string[];
  readonly policies: LimitPolicies;
  /** Its arguments between the deadline and the limits. */
  readonly args: readonly (string | number)[];
  /** What is to be withdrawn if it is not heard. */
  readonly request?: AdmitRequest;
}

/** Verdicts that spend the limits. */
const SPENDING: ReadonlySet<string | undefined> = new Set(["admitted", "denied", "unresolved"]);

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
