/** Guesses which variable a misspelt one was meant to be. */
import { variableNames, type VariableName } from "./variables.ts";

/** Shorter names (`PORT`, `HOST`) are too near to others' (`PATH`, `HOME`) for a guess. */
const NAME_LENGTH_MIN = 8;
const EDITS_MAX = 2;

/** What Kubernetes sets for a service, in every pod: `UPONAI_API_PORT_80_TCP_ADDR` and others. */
const SERVICE_LINK = /_SERVICE_(?:HOST|PORT)(?:_|$)|_PORT$|_PORT_\d{1,5}_(?:TCP|UDP|SCTP)(?:_|$)/;

/** Only this service has variables that begin with it. */
const OWN_PREFIX = "UPONAI";

/**
 * The variable that `name` was meant to be, if any: one at most two edits away, one that has all its
 * words (`UPONAI_TOKEN`), or, under the prefix `UPONAI_`, one that shares a word (`UPONAI_API_KEY`).
 *
 * @param name a name that is no variable of this service
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
    // The first word tells which program a variable is for.
    if (others[0] !== first) continue;
    const shared = words.filter((word) => others.includes(word)).length;
    if (shared < (first === OWN_PREFIX ? 2 : words.length)) continue;
    // The last word tells what it holds: `UPONAI_API_URL` is a URL.
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
