/**
 * Removes stray characters around values: line breaks from files, quotes from env files, byte order
 * marks. Warns where a removal could be wrong, and refuses values that are not valid text.
 */
import { type VariableName, variableNames } from "./variables.ts";

type Environment = Readonly<Record<string, string | undefined>>;

export interface CleanEnvironment {
  /** The environment with clean values of `NODE_ENV` and the variables of this service. */
  readonly environment: Environment;
  readonly problems: readonly {
    readonly variable: VariableName | "NODE_ENV";
    readonly problem: string;
  }[];
  /** Sentences that contain names of variables, never their values. */
  readonly warnings: readonly string[];
}

/** Values that the issuer of the sessions has too: after a removal here the two can differ. */
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
/** Control and format characters, and every space except U+0020. */
const INVISIBLE = /\p{C}|[^\P{Z} ]/u;
/** The same without line breaks and tabs, which JSON, PEM and lists can contain. */
const INVISIBLE_IN_LINES = /[^\P{C}\r\n\t]|[^\P{Z} ]/u;
const QUOTES: ReadonlySet<string> = new Set(['"', "'"]);
const ANY_QUOTE = /^["'`‘’“”]|["'`‘’“”]$/;

/** The replacement character, which decoders put in place of invalid bytes, and lone surrogates. */
const DAMAGED = /\uFFFD|\p{Cs}/u;

/** Cleans the values of `NODE_ENV` and the variables of this service; others stay as they are. */
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
      refuse("contains bytes that are not valid UTF-8");
      continue;
    }
    // A space at the end can be part of a secret. A line break cannot.
    const trimmed = trim(given, name === "SESSION_SECRET" ? LINE_BREAK : BLANK);
    const text = removeQuotes(trimmed);
    cleaned[name] = text;
    if (text === "") continue;
    if (text !== trimmed) {
      // The issuer's copy of the secret may have the quotes too, so that a removal could break it.
      if (name === "SESSION_SECRET") {
        refuse(
          "is in quotes, which docker --env-file keeps as part of the value: remove them here and at the issuer",
        );
        continue;
      }
      unquoted.push(name);
    }
    if (trimmed !== given && SHARED.has(name)) {
      warnings.push(
        `${name} had line breaks or white space around it, which were removed. Make sure that the issuer of the sessions uses the value without them.`,
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

/** Removes white space and quotes around a value that only this service uses, such as a path. */
export function cleanText(text: string): string {
  return removeQuotes(trim(text, BLANK));
}

/** Trims with a loop, since a regular expression that ends in `+$` takes quadratic time. */
function trim(text: string, blank: RegExp): string {
  let start = 0;
  let end = text.length;
  while (start < end && blank.test(text.charAt(start))) start += 1;
  while (end > start && blank.test(text.charAt(end - 1))) end -= 1;
  return text.slice(start, end);
}

/** Removes one pair of quotes around the whole value. */
function removeQuotes(text: string): string {
  const quote = text.charAt(0);
  if (text.length < 2 || !QUOTES.has(quote) || !text.endsWith(quote)) return text;
  return trim(text.slice(1, -1), BLANK);
}

/** Lists warnings about characters that can be intended and so were not removed. */
function listSuspects(name: string, text: string): readonly string[] {
  const kept = "which was kept as part of the value. Remove it if it is not intended.";
  if (BLANK.test(text.charAt(0)) || BLANK.test(text.charAt(text.length - 1))) {
    return [`${name} begins or ends with white space, ${kept}`];
  }
  if (ANY_QUOTE.test(text)) return [`${name} begins or ends with a quotation mark, ${kept}`];
  const invisible = name === "SESSION_SECRET" ? INVISIBLE : INVISIBLE_IN_LINES;
  if (!invisible.test(text)) return [];
  return [
    `${name} contains invisible characters, such as control characters or no-break spaces. Remove them if they are not intended.`,
  ];
}
