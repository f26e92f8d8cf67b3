/** Settings that the rules of the state need: how long owners stay, and what answers may be stored. */
import type { Config } from "../config/config.ts";

/** Plain data: on Workers it goes to the state's object with every call. */
export interface StateSettings {
  /** How long a chat stays its owner's after its last use, in microseconds. */
  readonly ownerKeptUs: number;
  /** How long a provisional owner keeps others out, in microseconds: as long as a request can take. */
  readonly provisionalKeptUs: number;
  /** Largest answer that is stored for its key, in bytes. */
  readonly answerBytesMax: number;
  /** Time in which one KiB of the subject's byte budget comes back, in microseconds. */
  readonly subjectKibUs: number;
  /** The same for the workspace's budget. */
  readonly workspaceKibUs: number;
}

/** The part of the configuration that the state needs. */
export type StateConfig = Pick<Config, "storedAnswers"> & {
  readonly chats: Pick<Config["chats"], "ownerTtlMs">;
  readonly upstream: Pick<Config["upstream"], "timeoutMs" | "recoveryWindowMs">;
};

/** Window of the byte budgets, in microseconds: as long as answers are stored. */
export const STORED_WINDOW_US = 86_400_000_000;

/** Besides the calls to UponAI, the longest that a request takes, in milliseconds. */
const REQUEST_SLACK_MS = 30_000;

/** Compiles the settings once at start. */
export function compileStateSettings(config: StateConfig): StateSettings {
  const { chats, storedAnswers, upstream } = config;
  // A request makes at most two calls of this length, and one search.
  const requestMs = 2 * upstream.timeoutMs + upstream.recoveryWindowMs + REQUEST_SLACK_MS;
  return {
    ownerKeptUs: chats.ownerTtlMs * 1_000,
    provisionalKeptUs: requestMs * 1_000,
    answerBytesMax: storedAnswers.answerBytesMax,
    subjectKibUs: compileBudget(storedAnswers.subjectBytes),
    workspaceKibUs: compileBudget(storedAnswers.workspaceBytes),
  };
}

/**
 * A budget as a GCRA over 24 h. Half of it may be used at once and half comes back over the window:
 * so no window of 24 h, and answers live no longer, ever holds more than the whole budget.
 */
function compileBudget(bytes: number): number {
  return Math.ceil(STORED_WINDOW_US / (bytes / 2 / 1_024));
}
