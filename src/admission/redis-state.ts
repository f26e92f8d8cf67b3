/**
 * The state shared by all instances, in Redis: runs the scripts within the time bound, and tells
 * "denied" from "unavailable". The connection itself is the platform's.
 */
import type { Clock } from "../clock.ts";
import { within } from "../within.ts";
import { type AdmissionState, type AdmitRequest, CUT_OFF_AHEAD_MS } from "./admission.ts";
import { describeLimits } from "./limit-policy.ts";
import { ownScript } from "./lua/own.ts";
import type { RedisScript } from "./lua/script.ts";
import { clockScript, probeScript } from "./lua/scripts.ts";
import { cutOffScript, endedScript, revokeScript } from "./lua/sessions.ts";
import {
  authFailuresMeter,
  describeAdmitted,
  describeOutcome,
  describeQuestion,
  describeSettling,
  describeWithdrawal,
} from "./port-to-rules.ts";
import { formatState } from "./records.ts";
import {
  admitCommand,
  checkCommand,
  countCommand,
  parseDecision,
  parseReply,
  type RedisCommand,
  renewCommand,
  settleCommand,
  withdrawCommand,
} from "./redis-commands.ts";
import { VERDICTS } from "./rules/admit.ts";
import { SETTLED } from "./rules/settle.ts";
import {
  chatKey,
  probeKey,
  sessionKeys,
  subjectRecordKey,
  workspaceRecordKey,
} from "./state-keys.ts";
import type { StateSettings } from "./state-settings.ts";

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
  readonly settings: StateSettings;
  readonly clock: Clock;
}

/** How long a higher sample of Redis's clock outweighs lower ones, in milliseconds. */
const OFFSET_KEPT_MS = 10_000;
/** Characters of commands remembered over an outage; what is dropped ends on its own anyway. */
const AMENDS_CHARS_MAX = 4_000_000;

const UNAVAILABLE = { kind: "unavailable" } as const;

export function createRedisState(options: RedisStateOptions): AdmissionState {
  const { connection, prefix, timeoutMs, settings, clock } = options;
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

  /** Commands that broke with their connection: run again once there is one. */
  let amends: RedisCommand[] = [];
  let amendsChars = 0;
  const amendLater = (command: RedisCommand) => {
    const texts: readonly (string | number)[] = [...command.keys, ...command.args];
    const chars = texts.reduce((sum: number, text) => sum + String(text).length, 0);
    if (amendsChars + chars > AMENDS_CHARS_MAX) return;
    amendsChars += chars;
    amends.push(command);
  };
  const run = ({ script, keys, args }: RedisCommand) => connection.run(script, keys, args);
  connection.onReady(() => {
    const due = amends;
    amends = [];
    amendsChars = 0;
    // What fails again is left to the leases and windows, which end on their own.
    for (const command of due) run(command).catch(() => undefined);
  });

  /** Redis's time at `deadlineMs` of our clock, or undefined when Redis does not say its time. */
  const convertToRedisUs = (deadlineMs: number): number | undefined =>
    offsetUs === undefined ? undefined : Math.floor(deadlineMs * 1_000 + offsetUs);
  const learnDeadlineUs = async (deadlineMs: number): Promise<number | undefined> => {
    const now = await within(deadlineMs - clock.monotonicMs(), connection.run(clockScript, [], []));
    if (typeof now === "number") learnOffset(now);
    return convertToRedisUs(deadlineMs);
  };

  /**
   * Runs a command that does nothing past its deadline, which is put before its arguments.
   *
   * @returns the reply, or undefined with the promise of what may still come
   */
  const runInTime = async ({ script, keys, args }: RedisCommand) => {
    const deadlineMs = clock.monotonicMs() + timeoutMs;
    let running: Promise<unknown> = Promise.resolve();
    // A second try only when Redis's clock was set meanwhile: its reply has told the new time.
    for (let attempt = 0; attempt < 2; attempt += 1) {
      const deadlineUs = convertToRedisUs(deadlineMs) ?? (await learnDeadlineUs(deadlineMs));
      if (deadlineUs === undefined) break;
      running = connection.run(script, keys, [deadlineUs, ...args]);
      const reply = parseReply(await within(deadlineMs - clock.monotonicMs(), running));
      if (reply === undefined) break;
      learnOffset(reply.nowUs, reply.code === LATE);
      if (reply.code !== LATE) return { reply, running };
    }
    return { reply: undefined, running };
  };

  /** Redis decided in time, but its answer came too late: what it spent is given back. */
  const withdrawLater = (running: Promise<unknown>, request: AdmitRequest) => {
    const withdrawal = (heard: boolean) =>
      withdrawCommand(describeWithdrawal(prefix, request, heard, settings), settings);
    const amend = () => amendLater(withdrawal(false));
    running.then((late) => {
      const code = parseReply(late)?.code;
      if (code !== undefined && SPENDING.has(code)) run(withdrawal(true)).catch(amend);
    }, amend);
  };

  /** Writes what ends sessions; "done" only when Redis has said so. */
  const write = async (command: RedisCommand) =>
    typeof (await within(timeoutMs, run(command))) === "number" ? "done" : "unavailable";

  return {
    async admit(request) {
      const startedMs = clock.monotonicMs();
      const question = describeQuestion(prefix, request, settings);
      const { reply, running } = await runInTime(admitCommand(question, settings));
      const decision = reply && parseDecision(reply.code, reply.rest);
      if (reply === undefined || decision === undefined) {
        withdrawLater(running, request);
        return UNAVAILABLE;
      }
      const waitedMs = clock.monotonicMs() - startedMs;
      return describeOutcome(request, decision, reply.nowUs, waitedMs);
    },
    async settle(admission, settlement) {
      const admitted = describeAdmitted(prefix, admission);
      if (admitted === undefined) return "settled";
      const settling = describeSettling(prefix, admission, settlement, settings);
      const command = settleCommand(admitted, settling, settings);
      const running = run(command);
      running.catch(() => amendLater(command));
      const reply = await within(timeoutMs - admission.waitedMs, running);
      const result = Array.isArray(reply) ? SETTLED[Number(reply[0])] : undefined;
      return result === undefined || result === "" ? "unavailable" : result;
    },
    async renew(admission, stateBefore) {
      const admitted = describeAdmitted(prefix, admission);
      const command = admitted && renewCommand(admitted, formatState(stateBefore), settings);
      if (command === undefined) return "lost";
      const { reply } = await runInTime(command);
      if (reply === undefined) return "unavailable";
      return reply.code === RENEWED ? "renewed" : "lost";
    },
    async own({ workspaceId, subjectKey, chatId, transcriptState, stamped }) {
      const running = run({
        script: ownScript,
        keys: [chatKey(prefix, workspaceId, chatId)],
        args: [subjectKey, settings.ownerKeptUs, formatState(transcriptState), stamped ? "1" : ""],
      });
      const reply = await within(timeoutMs, running);
      if (!Array.isArray(reply)) return "unavailable";
      return reply[0] === 1 ? "owned" : "refused";
    },
    async checkSession(session) {
      const keys = sessionKeys(prefix, session);
      const { reply } = await runInTime(checkCommand(keys, session.issuedAtMs ?? 0));
      if (reply === undefined) return "unavailable";
      return reply.code === VALID ? "valid" : "revoked";
    },
    async isEnded(session, forMs) {
      const keys = [sessionKeys(prefix, session).session];
      const args = [Math.max(Math.ceil(forMs), 1)];
      const { reply } = await runInTime({ script: endedScript, keys, args });
      if (reply === undefined) return "unavailable";
      return reply.code === ENDED ? "ended" : "not_ended";
    },
    revokeSession: (session, forMs) =>
      write({
        script: revokeScript,
        keys: [sessionKeys(prefix, session).session],
        args: [Math.max(Math.ceil(forMs), 1)],
      }),
    cutOff: ({ workspaceId, subjectKey, forMs }) => {
      const key =
        subjectKey === undefined
          ? workspaceRecordKey(prefix, workspaceId)
          : subjectRecordKey(prefix, workspaceId, subjectKey);
      const args = [Math.max(Math.ceil(forMs), 1), CUT_OFF_AHEAD_MS];
      return write({ script: cutOffScript, keys: [key], args });
    },
    async countAuthFailure(addressKey, policy) {
      const meter = authFailuresMeter(prefix, addressKey, policy);
      const { reply } = await runInTime(countCommand(meter));
      if (reply === undefined) return UNAVAILABLE;
      if (reply.code === COUNTED) return { kind: "counted" };
      const [tatUs] = reply.rest;
      if (typeof tatUs !== "number") return UNAVAILABLE;
      return { kind: "limited", limits: describeLimits([policy], [tatUs], reply.nowUs) };
    },
    isReachable: async () => {
      const running = run({ script: probeScript, keys: [probeKey(prefix)], args: [] });
      return typeof (await within(timeoutMs, running)) === "number";
    },
  };
}

/** What scripts with a deadline answer past it. */
const LATE = 0;
/** What they answer where the thing asked for was done or is so. */
const RENEWED = 1;
const VALID = 1;
const COUNTED = 1;
const ENDED = 1;

/** Verdicts that spend the limits. */
const SPENDING: ReadonlySet<number> = new Set(
  (["admitted", "denied", "unresolved"] as const).map((verdict) => VERDICTS.indexOf(verdict)),
);
