/** Reads the `Prefer` header (RFC 7240) of a request that accepts a bounded wait for its answer. */

/** A client's preference to get an answer or a 202 within a time. */
export interface Preference {
  /** Longest wait for the answer in seconds: 1 to 55; 0 does not wait. */
  readonly waitSeconds: number;
}

/** Shortest and longest wait that is applied, in seconds. Most proxies cut at 60 s. */
const WAIT_SECONDS_MIN = 1;
const WAIT_SECONDS_MAX = 55;

const TOKEN = "[!#$%&'*+.^_`|~0-9A-Za-z-]+";
const QUOTED = String.raw`"(?:[\t !#-[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"`;
const PARAMETER = `(?:${TOKEN})(?:[ \\t]*=[ \\t]*(?:${TOKEN}|${QUOTED}))?`;

/**
 * One preference: name, value and parameters. Each repetition begins with a character that the part
 * before it cannot hold, so that a long header is read in linear time.
 */
const PREFERENCE = new RegExp(
  `[ \\t]*(${TOKEN})(?:[ \\t]*=[ \\t]*(${TOKEN}|${QUOTED}))?(?:[ \\t]*;(?:[ \\t]*${PARAMETER})?)*[ \\t]*(?:,|$)`,
  "y",
);
/** An empty list element, which a recipient must accept (RFC 9110 section 5.6.1). */
const EMPTY_ELEMENT = /[ \t]*(?:,|$)/y;

/**
 * Parses the `Prefer` header. A bounded wait needs `respond-async`: only that accepts a 202.
 *
 * @returns undefined if the header asks for no bounded wait or is malformed
 */
export function parsePreference(header: string | null): Preference | undefined {
  if (header === null) return undefined;
  const preferences = parseList(header);
  if (preferences === undefined || preferences.get("respond-async") !== "") return undefined;
  const wait = preferences.get("wait");
  if (wait === undefined) return { waitSeconds: 0 };
  if (!/^\d+$/.test(wait)) return undefined;
  return { waitSeconds: Math.min(Math.max(Number(wait), WAIT_SECONDS_MIN), WAIT_SECONDS_MAX) };
}

/** The preferences by name; the first of a name counts (RFC 7240 section 2). No value reads as "". */
function parseList(header: string): ReadonlyMap<string, string> | undefined {
  const preferences = new Map<string, string>();
  for (let at = 0; at < header.length;) {
    const matched = matchAt(EMPTY_ELEMENT, header, at) ?? matchAt(PREFERENCE, header, at);
    if (matched === undefined) return undefined;
    at += matched[0].length;
    const [, name, value = ""] = matched;
    if (name === undefined) continue;
    const lower = name.toLowerCase();
    if (!preferences.has(lower)) preferences.set(lower, unquote(value));
  }
  return preferences;
}

function matchAt(pattern: RegExp, text: string, at: number): RegExpExecArray | undefined {
  pattern.lastIndex = at;
  return pattern.exec(text) ?? undefined;
}

function unquote(value: string): string {
  return value.startsWith('"') ? value.slice(1, -1).replaceAll(/\\(.)/g, "$1") : value;
}

/**
 * Returns the value of `Preference-Applied` (RFC 7240 section 3); undefined if nothing was applied.
 *
 * @param isAsync whether the answer is the 202 that `respond-async` asks for
 */
export function describeApplied({ waitSeconds }: Preference, isAsync: boolean): string | undefined {
  const applied = [
    ...(isAsync ? ["respond-async"] : []),
    ...(waitSeconds > 0 ? [`wait=${waitSeconds}`] : []),
  ];
  return applied.length === 0 ? undefined : applied.join(", ");
}
