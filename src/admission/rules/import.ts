/**
 * Reads what version 0.1.0 wrote, where the record that took its place is not there yet. It kept one
 * chat in several keys, and limits and cut-offs in keys of their own. Such keys live 30 days at most
 * by default: this can go in a version after the next. `lua/import.ts` has the same.
 */
import { CUT_OFF_AHEAD_MS, UNRESOLVED_KEPT_US } from "../admission.ts";
import type { KeySpace } from "../key-space.ts";
import {
  type ChatRecord,
  CONTESTED,
  type Counters,
  NO_STATE,
  NONE,
  parseChat,
} from "../records.ts";

/** The chat's record made of its owner, lock and tally; an empty one where there are none. */
export function importChat(space: KeySpace, nowUs: number, key: string): ChatRecord {
  const [, tag = "", id = ""] = /^(.*\}:)c2:(.*)$/.exec(key) ?? [];
  const chat = parseChat(undefined, nowUs);
  const owner = space.read(`${tag}o:${id}`);
  const kind = owner?.text.slice(0, 1);
  // An unconfirmed owner is none.
  if (owner !== undefined && (kind === "s" || kind === "f")) {
    chat.owner = { kind, subjectKey: owner.text.slice(2), endUs: owner.expiresAtUs, uses: 1 };
  }
  const [sends, mark, doubtful] = (space.read(`${tag}n:${id}`)?.text ?? "").split(" ");
  if (doubtful !== undefined) {
    const underWay = mark === "*";
    chat.sends = Number(sends);
    chat.state = underWay ? NO_STATE : (mark ?? NO_STATE);
    chat.doubtfulUntilUs = underWay ? nowUs + UNRESOLVED_KEPT_US : Number(doubtful);
    // Unresolved messages of 0.1.0 are in keys whose names cannot be listed.
    chat.contestedUntilUs = chat.doubtfulUntilUs;
  }
  const [token, leaseEnd] = (space.read(`${tag}l:${id}`)?.text ?? "").split(" ");
  if (token !== undefined && leaseEnd !== undefined) {
    const leaseEndUs = Number(leaseEnd);
    chat.running = { token, leaseEndUs, fingerprint: NONE, messageId: CONTESTED };
  }
  return chat;
}

/** Counters of a subject's or a workspace's record, made of their limits and cut-off. */
export function importCounters(space: KeySpace, key: string): Counters {
  const [, tag = "", subject] = /^(.*\}:)(?:u:(.*)|w2)$/.exec(key) ?? [];
  if (tag === "") return [];
  const cutOff = space.read(subject === undefined ? `${tag}e` : `${tag}c:${subject}`);
  const limits = subject === undefined ? [`${tag}w`] : [`${tag}s:${subject}`, `${tag}d:${subject}`];
  const tatsUs = limits.map((name) => Number(space.read(name)?.text ?? 0));
  if (cutOff === undefined) return tatsUs.some((tatUs) => tatUs > 0) ? [0, 0, 0, ...tatsUs] : [];
  return [Number(cutOff.text) + CUT_OFF_AHEAD_MS, cutOff.expiresAtUs, 0, ...tatsUs];
}
