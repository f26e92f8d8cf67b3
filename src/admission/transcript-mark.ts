/**
 * Owns what the state remembers of a chat's transcript: enough to find, later, the message that was
 * sent next, and to notice when the memory does not fit the transcript.
 */

export interface TranscriptMark {
  /** Messages in the transcript. */
  readonly count: number;
  /** Digest of all of them, `none` when there is none; neither space nor colon. */
  readonly anchor: string;
}

/** Nobody knows. */
export const NO_MARK = "-";

export function formatMark(mark: TranscriptMark | undefined): string {
  return mark === undefined ? NO_MARK : `${mark.count}:${mark.anchor}`;
}

export function parseMark(text: string | undefined): TranscriptMark | undefined {
  const [, count, anchor] = /^(\d+):(\S+)$/.exec(text ?? "") ?? [];
  return count === undefined || anchor === undefined ? undefined : { count: Number(count), anchor };
}

export function isSameMark(one: TranscriptMark | undefined, other: TranscriptMark): boolean {
  return one?.count === other.count && one.anchor === other.anchor;
}
