/**
 * Transcript state of a chat as the state keeps it: enough to find the message that was sent next,
 * and to notice that a transcript is not the one that was counted.
 */

export interface TranscriptState {
  /** Messages in the transcript. */
  readonly count: number;
  /** Digest of all of them, `none` when there is none; neither space nor colon. */
  readonly digest: string;
}

/** Text of an unknown transcript state. */
export const NO_STATE = "-";

/** Writes a transcript state as one word. */
export function formatState(state: TranscriptState | undefined): string {
  return state === undefined ? NO_STATE : `${state.count}:${state.digest}`;
}

/** Reads a transcript state; undefined for anything else. */
export function parseState(text: string | undefined): TranscriptState | undefined {
  const [, count, digest] = /^(\d+):(\S+)$/.exec(text ?? "") ?? [];
  return count === undefined || digest === undefined ? undefined : { count: Number(count), digest };
}

/** Whether both are known and equal. */
export function isSameState(one: TranscriptState | undefined, other: TranscriptState): boolean {
  return one?.count === other.count && one.digest === other.digest;
}
