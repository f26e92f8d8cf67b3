/** What is said to Redis and heard from it: questions as keys and arguments of the scripts. */
import type { StateSettings } from "./state-settings.ts";
import { admitScript } from "./lua/admit.ts";
import { countScript } from "./lua/count.ts";
import { renewScript } from "./lua/renew.ts";
import type { RedisScript } from "./lua/script.ts";
import { checkScript } from "./lua/sessions.ts";
import { settleReaderScript } from "./lua/settle-reader.ts";
import { settleRecovererScript } from "./lua/settle-recoverer.ts";
import { settleSenderScript } from "./lua/settle-sender.ts";
import { withdrawScript } from "./lua/withdraw.ts";
import { type Decision, type Question, VERDICTS } from "./rules/admit.ts";
import type { Meter } from "./rules/counter-rules.ts";
import { REFUND_KIB } from "./rules/key-rules.ts";
import type { Admitted, Settling } from "./rules/settle.ts";
import type { Withdrawal } from "./rules/withdraw.ts";
import type { SessionKeys } from "./state-keys.ts";

/** One run of a script. */
export interface RedisCommand {
  readonly script: RedisScript;
  readonly keys: readonly string[];
  readonly args: readonly (string | number)[];
}

/** How the scripts know a confirmed owner. */
const OWNER_LETTERS = { "first-use": "f", started: "s" } as const;

/** Lua counts from 1. */
const slotOf = ({ slot }: Meter): number => slot + 1;

/** An admission; its deadline comes first, once it is known. */
export function admitCommand(
  { keys, issuedAtMs, limits, replays, stored, chat }: Question,
  { ownerKeptUs, provisionalKeptUs }: StateSettings,
): RedisCommand {
  const all = [keys.session, keys.subject, keys.workspace];
  if (chat !== undefined) all.push(chat.key);
  if (chat?.recordKey !== undefined) all.push(chat.recordKey);
  // One text for all numbers: each argument of its own costs the client more than the script.
  let numbers = `[${ownerKeptUs},${provisionalKeptUs},${stored.subjectKibUs},${stored.workspaceKibUs}`;
  if (replays === undefined) numbers += ",0,0,0,0,0";
  else {
    const { number, kib } = replays;
    numbers += `,${slotOf(number)},${number.intervalUs},${number.toleranceUs},${kib.intervalUs},${kib.toleranceUs}`;
  }
  for (const meter of limits) {
    let at = all.indexOf(meter.key);
    if (at === -1) at = all.push(meter.key) - 1;
    numbers += `,${at + 1},${slotOf(meter)},${meter.intervalUs},${meter.toleranceUs}`;
  }
  numbers += "]";
  const { message, access = "", subjectKey = "", recordKey } = chat ?? {};
  const { token = "", fingerprint = "", messageId = "" } = message ?? {};
  const keyed = recordKey === undefined ? "" : "1";
  return {
    script: admitScript,
    keys: all,
    args: [issuedAtMs, access, subjectKey, token, fingerprint, messageId, keyed, numbers],
  };
}

/** What settles an admission. */
export function settleCommand(
  { chatKey, role, subjectKey, sends, message, recordKey }: Admitted,
  settling: Settling,
  { ownerKeptUs }: StateSettings,
): RedisCommand {
  const { disposition, recovered, stateBefore, stateAfter, code, stored, refund } = settling;
  const owner = settling.owner === undefined ? "" : OWNER_LETTERS[settling.owner];
  if (role === "reader" || message === undefined) {
    const args = [sends, stateAfter, ownerKeptUs, subjectKey, owner];
    return { script: settleReaderScript, keys: [chatKey], args };
  }
  const { token, fingerprint, messageId } = message;
  const {
    answer = "",
    kib = 0,
    budget,
  } = refund === undefined ? (stored ?? {}) : { kib: REFUND_KIB, budget: refund };
  const spent = budget === undefined || kib === 0 ? [] : [budget.subjectKey, budget.workspaceKey];
  return {
    script: role === "sender" ? settleSenderScript : settleRecovererScript,
    keys: recordKey === undefined ? [chatKey] : [chatKey, recordKey, ...spent],
    // One text for all but the answer: each argument of its own costs the client more than the script.
    args: [
      answer,
      // JSON: none of the texts holds a character that would have to be escaped.
      `["${token}","${fingerprint}","${messageId}","${disposition}",${recovered},${sends},` +
        `${ownerKeptUs},"${subjectKey}","${owner}","${stateAfter}","${stateBefore}","${code}",` +
        `${stored !== undefined},${kib},` +
        `${budget?.subjectKibUs ?? 0},${budget?.workspaceKibUs ?? 0}]`,
    ],
  };
}

/** A renewal; its deadline comes first, once it is known. Undefined where nothing is leased. */
export function renewCommand(
  { chatKey, role, sends, message, recordKey }: Admitted,
  stateBefore: string,
  { ownerKeptUs }: StateSettings,
): RedisCommand | undefined {
  if (message === undefined) return undefined;
  const { token, fingerprint, messageId } = message;
  const sending = role === "sender" ? "1" : "";
  return {
    script: renewScript,
    keys: recordKey === undefined ? [chatKey] : [chatKey, recordKey],
    args: [token, fingerprint, messageId, sending, sends, stateBefore, ownerKeptUs],
  };
}

/** What takes an admission back. */
export function withdrawCommand(
  { heard, limits, chat }: Withdrawal,
  { ownerKeptUs }: StateSettings,
): RedisCommand {
  const { token = "", fingerprint = "", messageId = "" } = chat?.message ?? {};
  const keys = limits.map(({ key }) => key);
  if (chat !== undefined) keys.push(chat.chatKey);
  if (chat?.recordKey !== undefined) {
    keys.push(chat.recordKey, chat.budget.subjectKey, chat.budget.workspaceKey);
  }
  return {
    script: withdrawScript,
    keys,
    args: [
      heard ? "1" : "",
      token,
      fingerprint,
      messageId,
      chat?.subjectKey ?? "",
      ownerKeptUs,
      chat?.budget.subjectKibUs ?? 0,
      chat?.budget.workspaceKibUs ?? 0,
      ...limits.flatMap((meter) => [slotOf(meter), meter.intervalUs]),
    ],
  };
}

/** Whether a session was ended; its deadline comes first, once it is known. */
export function checkCommand(keys: SessionKeys, issuedAtMs: number): RedisCommand {
  const { session, subject, workspace } = keys;
  return { script: checkScript, keys: [session, subject, workspace], args: [issuedAtMs] };
}

/** One wrong credential; its deadline comes first, once it is known. */
export function countCommand(meter: Meter): RedisCommand {
  const { key, intervalUs, toleranceUs } = meter;
  return { script: countScript, keys: [key], args: [slotOf(meter), intervalUs, toleranceUs] };
}

/** What every script with a deadline answers first; undefined for what is no such answer. */
export function parseReply(
  reply: unknown,
):
  { readonly code: number; readonly nowUs: number; readonly rest: readonly unknown[] } | undefined {
  if (!Array.isArray(reply)) return undefined;
  const items: unknown[] = reply;
  const [code, nowUs, ...rest] = items;
  if (typeof code !== "number" || typeof nowUs !== "number") return undefined;
  return { code, nowUs, rest };
}

/** The decision of the admission script; undefined for what is none. */
export function parseDecision(code: number, rest: readonly unknown[]): Decision | undefined {
  const verdict = VERDICTS[code];
  const [chatText, keyText, storable, ...tats] = rest;
  if (verdict === undefined || typeof chatText !== "string" || typeof keyText !== "string") {
    return undefined;
  }
  const tatsUs = tats.filter((item) => typeof item === "number");
  if (tatsUs.length < tats.length) return undefined;
  return { verdict, chatText, keyText, storable: storable === 1, tatsUs };
}
