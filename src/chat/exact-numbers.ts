/**
 * Finds JSON numbers that a JavaScript number cannot represent: UponAI would receive another number
 * than the client sent.
 */

/** What the reviver receives for a primitive value (ECMA-262, JSON.parse source text access). */
interface ReviverContext {
  readonly source?: string;
}

/** Marks a number that is not kept. No JSON value is a symbol. */
const INEXACT = Symbol("inexact number");

/**
 * Lists the paths to the numbers of a JSON text that change when they are parsed and written again.
 *
 * A number is kept when both texts mean the same decimal number. `0.1`, `1.0` and `-0` are kept;
 * `10000000000000001`, `1e400`, `1e-400` and more decimals than a double has are not. Every number
 * that `JSON.stringify` writes is kept.
 *
 * @param text valid JSON, already known not to nest deeper than `JSON_DEPTH_MAX`: this recurses
 */
export function findInexactNumbers(text: string): readonly (readonly string[])[] {
  return [...listInexact(JSON.parse(text, markInexact), [])];
}

function markInexact(_key: string, value: unknown, context?: ReviverContext): unknown {
  return typeof value === "number" && !isKept(value, context?.source) ? INEXACT : value;
}

function* listInexact(value: unknown, path: readonly string[]): Generator<readonly string[]> {
  if (value === INEXACT) yield path;
  else if (typeof value === "object" && value !== null) {
    for (const [key, member] of Object.entries(value)) yield* listInexact(member, [...path, key]);
  }
}

function isKept(value: number, source: string | undefined): boolean {
  // Without its source, a number cannot be proven exact.
  if (source === undefined || !Number.isFinite(value)) return false;
  return source === String(value) || toCanonical(source) === toCanonical(String(value));
}

const NUMBER = /^(-?)(\d+)(?:\.(\d+))?(?:e([+-]?\d+))?$/i;

/** Formats a decimal number in one unique way: sign, significant digits, exponent. Linear time. */
function toCanonical(text: string): string {
  const [, sign = "", whole = "", fraction = "", exponent = "0"] = NUMBER.exec(text) ?? [];
  const digits = whole + fraction;
  let start = 0;
  while (digits[start] === "0") start += 1;
  if (start === digits.length) return "0";
  let end = digits.length;
  while (digits[end - 1] === "0") end -= 1;
  // The exponent of the digits as an integer. A very large exponent does not get here: its number is
  // not finite, or is zero.
  const power = Number(exponent) - fraction.length + (digits.length - end);
  return `${sign}${digits.slice(start, end)}e${power}`;
}
