/** Parses the durations, sizes and quotas of the configuration. */

const MS_PER_UNIT: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};
const BYTES_PER_UNIT: Readonly<Record<string, number>> = { B: 1, KiB: 1_024, MiB: 1_048_576 };

function scale(digits: string | undefined, factor: number | undefined): number {
  return Number(digits) * (factor ?? Number.NaN);
}

/** Parses `500ms`, `60s`, `5m`, `8h` or `30d` to milliseconds. Refuses zero and bare numbers. */
export function parseDuration(text: string): number | undefined {
  const match = /^([1-9]\d{0,8})(ms|s|m|h|d)$/.exec(text);
  if (match === null) return undefined;
  return scale(match[1], MS_PER_UNIT[match[2] ?? ""]);
}

/** Parses a duration as `parseDuration` does, but also zero (`0`, `0ms`, `0s`), to milliseconds. */
export function parseDelay(text: string): number | undefined {
  return /^0(?:ms|s|m|h|d)?$/.test(text) ? 0 : parseDuration(text);
}

/** Parses `32KiB`, `1MiB`, `8000B` or bare `8000` to bytes. Refuses zero. */
export function parseByteSize(text: string): number | undefined {
  const match = /^([1-9]\d{0,8})(B|KiB|MiB)?$/.exec(text);
  if (match === null) return undefined;
  return scale(match[1], BYTES_PER_UNIT[match[2] ?? "B"]);
}

/** A rate limit: a number of requests per window, and how many can come at once. */
export interface Quota {
  /** Requests per window, 1 or more. */
  readonly quota: number;
  /** Window in whole seconds, 1 or more. */
  readonly windowSeconds: number;
  /** Requests that can come at once, 1 or more. The default is the quota. */
  readonly burst: number;
}

/** A rate limit, or `off` for no limit. */
export type QuotaSetting = Quota | "off";

/**
 * Longest time for a used burst to refill, in seconds: ten years (3650d). With more, a time in
 * microseconds can exceed the safe integers.
 */
const RECOVERY_SECONDS_MAX = 315_360_000;

/** Limits count in whole microseconds; a shorter interval would be rounded up to one. */
const QUOTA_PER_SECOND_MAX = 1_000_000;

/**
 * Parses `20/1m`, `1000/1d;burst=50` or `off`. Refuses zeros, quotas of more than one request per
 * microsecond, and bursts that take more than ten years to refill.
 */
export function parseQuota(text: string): QuotaSetting | undefined {
  if (text === "off") return "off";
  const match = /^([1-9]\d{0,6})\/([1-9]\d{0,4})(s|m|h|d)(?:;burst=([1-9]\d{0,6}))?$/.exec(text);
  if (match === null) return undefined;
  const quota = Number(match[1]);
  const windowSeconds = scale(match[2], MS_PER_UNIT[match[3] ?? ""]) / 1_000;
  const burst = match[4] === undefined ? quota : Number(match[4]);
  if (quota > windowSeconds * QUOTA_PER_SECOND_MAX) return undefined;
  if ((windowSeconds / quota) * burst > RECOVERY_SECONDS_MAX) return undefined;
  return { quota, windowSeconds, burst };
}
