/**
 * Removes what came with a value by accident: line breaks of files, quotes of env files, byte order
 * marks. Warns where a removal could be wrong, and refuses text that was damaged on its way.
 */
import { type VariableName, variableNames } from "./variables.ts";

type Environment = Readonly<Record<string, string | undefined>>;

export interface CleanEnvironment {
  /** The given environment with the variables of this service (and `NODE_ENV`) cleaned. */
  readonly environment: Environment;
  readonly problems: readonly {
    readonly variable: VariableName | "NODE_ENV";
    readonly problem: string;
  }[];
  /** Sentences that name variables, never their values. */
  readonly warnings: readonly string[];
}

/** The issuer of the sessions has the same values: a removal here can make the two differ. */
const SHARED: ReadonlySet<string> = new Set<VariableName>([
  "SESSION_SECRET",
  "SESSION_ISSUER",
  "SESSION_AUDIENCE",
  "SESSION_WORKSPACE_CLAIM",
  "SESSION_CHATS_CLAIM",
]);

/** White space (with U+FEFF, the byte order mark) and characters without width. */
const BLANK = /[\s\u0085\u00AD\u200B-\u200F\u202A-\u202E\u2060-\u2069]/;
const LINE_BREAK = /[\r\n\uFEFF]/;
/** Control and format characters, and every space but the usual one. */
const INVISIBLE = /\p{C}|[^\P{Z} ]/u;
/** The same without what lays out JSON, PEM and lists of several lines. */
const INVISIBLE_IN_LINES = /[^\P{C}\r\n\t]|[^\P{Z} ]/u;
const QUOTES: ReadonlySet<string> = new Set(['"', "'"]);
const ANY_QUOTE = /^["'`‘’“”]|["'`‘’“”]$/;

/** What decoders put in place of bytes that are no text, and halves of a character. */
const DAMAGED = /\uFFFD|\p{Cs}/u;

/** Cleans the value of every variable; the others are left as they are. */
export function cleanEnvironment(environment: Environment): CleanEnvironment {
  const cleaned: Record<string, string | undefined> = { ...environment };
  const problems: CleanEnvironment["problems"][number][] = [];
  const warnings: string[] = [];
  const unquoted: string[] = [];
  for (const name of [...variableNames, "NODE_ENV"] as const) {
    const given = environment[name];
    if (given === undefined || given === "") continue;
    const refuse = (problem: string) => {
      problems.push({ variable: name, problem });
      cleaned[name] = undefined;
    };
    if (DAMAGED.test(given)) {
      refuse("holds bytes that are not text in UTF-8");
      continue;
    }
    // A space or a letter like it can be part of a secret; a line break at its end cannot.
    const trimmed = trim(given, name === "SESSION_SECRET" ? LINE_BREAK : BLANK);
    const text = removeQuotes(trimmed);
    cleaned[name] = text;
    if (text === "") continue;
    if (text !== trimmed) {
      // Whether the issuer's own copy has the quotes, too, cannot be seen from here.
      if (name === "SESSION_SECRET") {
        refuse("is in quotes, which docker --env-file keeps: remove them, at the issuer too");
        continue;
      }
      unquoted.push(name);
    }
    if (trimmed !== given && SHARED.has(name)) {
      warnings.push(
        `${name} had line breaks or white space around it, which were removed. Make sure that the issuer of the sessions uses it without them.`,
      );
    }
    warnings.push(...listSuspects(name, text));
  }
  if (unquoted.length > 0) {
    warnings.push(
      `In quotes, which were removed: ${unquoted.join(", ")}. docker --env-file and Kubernetes keep quotes as part of the value.`,
    );
  }
  return { environment: cleaned, problems, warnings };
}

/** Cleans a single value of which nobody else has a copy, such as a path. */
export function cleanText(text: string): string {
  return removeQuotes(trim(text, BLANK));
}

/** By hand: a pattern that ends in `+$` takes quadratic time. */
function trim(text: string, blank: RegExp): string {
  let start = 0;
  let end = text.length;
  while (start < end && blank.test(text.charAt(start))) start += 1;
  while (end > start && blank.test(text.charAt(end - 1))) end -= 1;
  return text.slice(start, end);
}

/** Removes one pair of quotes around the whole. */
function removeQuotes(text: string): string {
  const quote = text.charAt(0);
  if (text.length < 2 || !QUOTES.has(quote) || !text.endsWith(quote)) return text;
  return trim(text.slice(1, -1), BLANK);
}

/** What was left in place because it can be meant. */
function listSuspects(name: string, text: string): readonly string[] {
  const kept = "which was kept: remove it if it is not meant.";
  if (BLANK.test(text.charAt(0)) || BLANK.test(text.charAt(text.length - 1))) {
    return [`${name} begins or ends with white space, ${kept}`];
  }
  if (ANY_QUOTE.test(text)) return [`${name} begins or ends with a quotation mark, ${kept}`];
  const invisible = name === "SESSION_SECRET" ? INVISIBLE : INVISIBLE_IN_LINES;
  if (!invisible.test(text)) return [];
  return [
    `${name} holds invisible characters, such as a control character or a no-break space: remove them if they are not meant.`,
  ];
}
