/**
 * Owns what is said to Redis and heard from it: requests as keys and arguments of the scripts, and
 * their replies. It runs nothing.
 */
import type { AdmitRequest, Settlement, Ticket } from "./admission.ts";
import { markerOf } from "./records.ts";
import type { RedisScript } from "./script.ts";
import { VERDICTS } from "./scripts.ts";
import { settleReadingScript, settleScript, settleSeekingScript } from "./settle-scripts.ts";
import { chatKeys, limitKey, revocationKeys } from "./state-keys.ts";
import { formatMark, NO_MARK } from "./transcript-mark.ts";

/** One run of a script. */
export interface RedisCommand {
  readonly script: RedisScript;
  readonly keys: readonly string[];
  readonly args: readonly (string | number)[];
}

export interface ScriptReply {
  readonly verdict: (typeof VERDICTS)[number];
  readonly nowUs: number;
  readonly detail: string;
  readonly tatsUs: readonly number[];
}

/** How the scripts know what becomes of a claim. */
const CLAIM_LETTERS = { "first-use": "f", started: "s" } as const;

/** The arguments for what has no chat. */
export const NO_CHAT: readonly string[] = ["", "", "", "", "", "", ""];

export function listKeys(prefix: string, request: AdmitRequest): string[] {
  const { policies, workspaceId, chat } = request;
  const keys = policies.map(({ name }) => limitKey(prefix, name, request));
  keys.push(...revocationKeys(prefix, request));
  if (chat === undefined) return keys;
  const { owner, tally, lock, doubt, record } = chatKeys(prefix, { workspaceId, chat });
  keys.push(owner, tally);
  if (chat.message !== undefined) keys.push(lock, doubt);
  if (record !== undefined) keys.push(record);
  return keys;
}

export function listArgs(request: AdmitRequest, ownerTtlUs: number): (string | number)[] {
  const { issuedAtMs = 0, subjectKey, chat } = request;
  if (chat === undefined) return [issuedAtMs, ...NO_CHAT];
  const { access, message } = chat;
  const named =
    message === undefined
      ? ["", "", "", ""]
      : [message.token, message.fingerprint, markerOf(message), message.keyDigest ? "1" : ""];
  return [issuedAtMs, access, subjectKey, ownerTtlUs, ...named];
}

/** The keys that one message holds. */
export function listMessageKeys(
  prefix: string,
  { workspaceId, chat }: AdmitRequest,
): string[] | undefined {
  if (chat?.message === undefined) return undefined;
  const { tally, lock, doubt, record } = chatKeys(prefix, { workspaceId, chat });
  return record === undefined ? [tally, lock, doubt] : [tally, lock, doubt, record];
}

/** What settling a ticket takes; undefined for what has no chat: nothing is left of it. */
export function listSettlement(
  { prefix, ownerTtlUs }: { readonly prefix: string; readonly ownerTtlUs: number },
  { request, role, sends }: Ticket,
  settlement: Settlement,
): RedisCommand | undefined {
  const { workspaceId, subjectKey, chat } = request;
  if (chat === undefined) return undefined;
  const { owner, tally, lock, doubt, record } = chatKeys(prefix, { workspaceId, chat });
  const { message } = chat;
  const { fate } = settlement;
  const after = fate === "unknown" ? NO_MARK : formatMark(settlement.mark);
  const claim = settlement.claim === undefined ? "" : CLAIM_LETTERS[settlement.claim];
  if (role === "reader" || message === undefined) {
    const args = [sends, after, ownerTtlUs, subjectKey, claim];
    return { script: settleReadingScript, keys: [owner, tally], args };
  }
  const marker = markerOf(message);
  const { token, fingerprint } = message;
  // Without a key nothing is kept, and nothing need travel.
  const answer = "answer" in settlement && record !== undefined ? settlement.answer : "";
  if (role === "seeker") {
    const args = [token, marker, fingerprint, fate, answer];
    return { script: settleSeekingScript, keys: [doubt, record ?? ""], args };
  }
  const before = fate === "unknown" ? formatMark(settlement.markBefore) : NO_MARK;
  const payload = fate === "unknown" ? settlement.code : answer;
  const absent = fate === "not_taken" && settlement.absent === true ? "1" : "";
  const known = [sends, ownerTtlUs, subjectKey, claim, after, before, absent];
  const keys = [owner, tally, lock, doubt];
  if (record !== undefined) keys.push(record);
  return {
    script: settleScript,
    keys,
    args: [token, marker, fingerprint, fate, ...known, payload],
  };
}

/** A reply of the admission script, or of another that answers verdict and time alone. */
export function parseReply(reply: unknown): ScriptReply | undefined {
  if (!Array.isArray(reply)) return undefined;
  const items: unknown[] = reply;
  const [verdictIndex, nowUs, detail = "", ...tats] = items;
  if (typeof verdictIndex !== "number" || typeof nowUs !== "number") return undefined;
  const verdict = VERDICTS[verdictIndex];
  const tatsUs = tats.filter((item) => typeof item === "number");
  if (verdict === undefined || typeof detail !== "string") return undefined;
  return tatsUs.length === tats.length ? { verdict, nowUs, detail, tatsUs } : undefined;
}
