/** Suggests the variable of this service that a misspelled name probably means. */
import { variableNames, type VariableName } from "./variables.ts";

/** Shorter names such as `PORT` and `HOST` are too similar to those of other programs (`PATH`). */
const NAME_LENGTH_MIN = 8;
const EDITS_MAX = 2;

/** Variables that Kubernetes sets in every pod, such as `UPONAI_API_PORT_80_TCP_ADDR`. */
const SERVICE_LINK = /_SERVICE_(?:HOST|PORT)(?:_|$)|_PORT$|_PORT_\d{1,5}_(?:TCP|UDP|SCTP)(?:_|$)/;

/** Only variables of this service start with this word. */
const OWN_PREFIX = "UPONAI";

/**
 * Suggests a variable that is at most two edits away, contains all words of the name
 * (`UPONAI_TOKEN`), or, with the prefix `UPONAI_`, shares another word with it (`UPONAI_API_KEY`).
 *
 * @param name a name that is not a variable of this service
 * @returns undefined where no variable is similar enough
 */
export function suggestVariable(name: string): VariableName | undefined {
  if (name.length < NAME_LENGTH_MIN) return undefined;
  return findByEdits(name) ?? (SERVICE_LINK.test(name) ? undefined : findByWords(name));
}

function findByEdits(name: string): VariableName | undefined {
  let nearest: VariableName | undefined;
  let fewest = EDITS_MAX + 1;
  for (const candidate of variableNames) {
    if (candidate.length < NAME_LENGTH_MIN || Math.abs(candidate.length - name.length) > EDITS_MAX)
      continue;
    const edits = countEdits(name, candidate);
    if (edits < fewest) [nearest, fewest] = [candidate, edits];
  }
  return nearest;
}

function findByWords(name: string): VariableName | undefined {
  const words = [...new Set(name.split("_"))];
  const [first] = words;
  if (words.length < 2) return undefined;
  let nearest: VariableName | undefined;
  let best = Number.NEGATIVE_INFINITY;
  for (const candidate of variableNames) {
    const others = candidate.split("_");
    // The first word tells which program a variable belongs to.
    if (others[0] !== first) continue;
    const shared = words.filter((word) => others.includes(word)).length;
    if (shared < (first === OWN_PREFIX ? 2 : words.length)) continue;
    // The last word tells the kind of the value: `UPONAI_API_URL` is a URL.
    const score = 2 * shared - others.length + (others.at(-1) === words.at(-1) ? 2 : 0);
    if (score > best) [nearest, best] = [candidate, score];
  }
  return nearest;
}

/** Levenshtein distance: insertions, deletions and substitutions. */
function countEdits(from: string, to: string): number {
  let previous = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (let row = 1; row <= from.length; row += 1) {
    const current = [row];
    for (let column = 1; column <= to.length; column += 1) {
      const substitution = (previous[column - 1] ?? 0) + (from[row - 1] === to[column - 1] ? 0 : 1);
      const insertion = (current[column - 1] ?? 0) + 1;
      const deletion = (previous[column] ?? 0) + 1;
      current.push(Math.min(substitution, insertion, deletion));
    }
    previous = current;
  }
  return previous[to.length] ?? 0;
}
