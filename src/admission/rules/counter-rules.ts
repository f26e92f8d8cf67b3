/**
 * Rules on limits and byte budgets, which are kept as counters. `lua/counter-rules.ts` has the same
 * under the same names.
 */
import type { KeySpace } from "../key-space.ts";
import type { LimitPolicy } from "../limit-policy.ts";
import { type Counters, formatCounters, parseCounters, SUBJECT_SLOT } from "../records.ts";
import { STORED_WINDOW_US } from "../state-settings.ts";
import { importCounters } from "./import.ts";

/** One counter's place. */
export interface Place {
  readonly key: string;
  readonly slot: number;
}

/** One limit and the counter that it is kept in. */
export interface Meter extends Place, Pick<LimitPolicy, "intervalUs" | "toleranceUs"> {}

/** Counters of some keys, read once and written once. */
export interface OpenCounters {
  read(place: Place): number;
  set(place: Place, value: number): void;
  /** Writes what was set, each record until the last of its times; deletes a record that has none. */
  save(): void;
}

function readCounters(space: KeySpace, key: string): Counters {
  const text = space.read(key)?.text;
  return text === undefined ? importCounters(space, key) : parseCounters(text);
}

export function openCounters(space: KeySpace, nowUs: number): OpenCounters {
  const held = new Map<string, Counters>();
  const changed = new Set<string>();
  const open = (key: string): Counters => {
    const counters = held.get(key) ?? readCounters(space, key);
    held.set(key, counters);
    return counters;
  };
  return {
    read: ({ key, slot }) => open(key)[slot] ?? 0,
    set({ key, slot }, value) {
      const counters = open(key);
      while (counters.length < slot) counters.push(0);
      counters[slot] = value;
      changed.add(key);
    },
    save() {
      for (const key of changed) {
        const counters = open(key);
        const endUs = Math.max(...counters);
        if (endUs > nowUs) space.write(key, formatCounters(counters), endUs);
        else space.delete(key);
      }
    },
  };
}

/**
 * A limit's TAT. One before now is a limit that is full; one beyond the tolerance was written under
 * another limit or another clock, and must not refuse a client for longer than this limit can.
 */
export function readTat(counters: OpenCounters, nowUs: number, meter: Meter): number {
  const latestUs = nowUs + meter.toleranceUs;
  // Set, so that it is stored: otherwise the next request would find it beyond the tolerance again.
  if (counters.read(meter) > latestUs) counters.set(meter, latestUs);
  return Math.max(counters.read(meter), nowUs);
}

/** Whether a session was cut off, by its subject's record or its workspace's. */
export function isCutOff(
  counters: OpenCounters,
  nowUs: number,
  key: string,
  issuedAtMs: number,
): boolean {
  const endUs = counters.read({ key, slot: SUBJECT_SLOT.cutOffEndUs });
  return endUs > nowUs && issuedAtMs <= counters.read({ key, slot: SUBJECT_SLOT.cutOffMs });
}

/** The byte budgets of one message's subject and workspace. */
export interface StoredBudget {
  readonly subjectKey: string;
  readonly workspaceKey: string;
  /** See `StateSettings`. */
  readonly subjectKibUs: number;
  readonly workspaceKibUs: number;
}

/**
 * Spends so many KiB of both byte budgets, or nothing where one has not so much left. A negative
 * number is given back. A budget that is full stays full: it is read as now.
 */
export function spendStored(
  counters: OpenCounters,
  nowUs: number,
  budget: StoredBudget,
  kib: number,
): boolean {
  const toleranceUs = STORED_WINDOW_US;
  const slot = SUBJECT_SLOT.stored;
  const subject = { key: budget.subjectKey, slot, intervalUs: budget.subjectKibUs, toleranceUs };
  const workspace = {
    key: budget.workspaceKey,
    slot,
    intervalUs: budget.workspaceKibUs,
    toleranceUs,
  };
  const subjectUs = readTat(counters, nowUs, subject) + kib * subject.intervalUs;
  const workspaceUs = readTat(counters, nowUs, workspace) + kib * workspace.intervalUs;
  if (Math.max(subjectUs, workspaceUs) - nowUs > toleranceUs) return false;
  counters.set(subject, subjectUs);
  counters.set(workspace, workspaceUs);
  return true;
}

const encoder = new TextEncoder();

/** Size of a stored answer in KiB, rounded up. */
export function kibOf(answer: string): number {
  return Math.ceil(encoder.encode(answer).byteLength / 1_024);
}
