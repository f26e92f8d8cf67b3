/**
 * Finds JSON numbers that a JavaScript number cannot keep: what would go to UponAI is then another
 * number than the client sent.
 */

/** What the reviver is told of a primitive value (ECMA-262, JSON.parse source text access). */
interface ReviverContext {
  readonly source?: string;
}

/** Stands for a number that is not kept. No JSON value is a symbol. */
const INEXACT = Symbol("inexact number");

/**
 * Paths to the numbers of a JSON text that change when they are parsed and written again.
 *
 * A number is kept when both texts mean the same decimal number. `0.1`, `1.0` and `-0` are kept;
 * `10000000000000001`, `1e400`, `1e-400` and more decimals than a double has are not. Whatever
 * `JSON.stringify` of any JavaScript program writes is kept.
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
  // Without its source no number can be told to be exact.
  if (source === undefined || !Number.isFinite(value)) return false;
  return source === String(value) || toCanonical(source) === toCanonical(String(value));
}

const NUMBER = /^(-?)(\d+)(?:\.(\d+))?(?:e([+-]?\d+))?$/i;

/** One text for each decimal number: the sign, the digits that count, the exponent. Linear time. */
function toCanonical(text: string): string {
  const [, sign = "", whole = "", fraction = "", exponent = "0"] = NUMBER.exec(text) ?? [];
  const digits = whole + fraction;
  let start = 0;
  while (digits[start] === "0") start += 1;
  if (start === digits.length) return "0";
  let end = digits.length;
  while (digits[end - 1] === "0") end -= 1;
  // Of the digits as a whole number. An exponent too large for this would not be finite, or be zero.
  const power = Number(exponent) - fraction.length + (digits.length - end);
  return `${sign}${digits.slice(start, end)}e${power}`;
}
