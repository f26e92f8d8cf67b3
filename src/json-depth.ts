/** Owns how deep JSON from outside may nest: what writes it again recurses, and would overflow. */

/** Deeper than anything sensible, and far from what a stack holds. */
export const JSON_DEPTH_MAX = 32;

/** Whether a value nests deeper than that. Looks no further than it must, and does not recurse deeper. */
export function isTooDeep(value: unknown, depthMax = JSON_DEPTH_MAX): boolean {
  if (typeof value !== "object" || value === null) return false;
  if (depthMax === 0) return true;
  return Object.values(value).some((member) => isTooDeep(member, depthMax - 1));
}
