/** Owns the guess at what a misspelt variable was meant to be. */
import { variableNames, type VariableName } from "./variables.ts";

/** Shorter names (`PORT`, `HOST`) are too near to others' (`PATH`, `HOME`) for a guess. */
const NAME_LENGTH_MIN = 8;
const EDITS_MAX = 2;

/** The variable that `name` is at most two edits away from, if any. */
export function suggestVariable(name: string): VariableName | undefined {
  if (name.length < NAME_LENGTH_MIN) return undefined;
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
