/**
 * The bound on the nesting of received JSON. `JSON.stringify` and schemas recurse, so that deeper
 * JSON could overflow the stack.
 */

/** Most levels of objects and arrays: more than real data has, far less than a stack can hold. */
export const JSON_DEPTH_MAX = 32;

/**
 * Tells whether a JSON value nests deeper than `depthMax` levels. It recurses no deeper than that.
 *
 * @param depthMax levels of objects and arrays, 0 or more
 */
export function isTooDeep(value: unknown, depthMax = JSON_DEPTH_MAX): boolean {
  if (typeof value !== "object" || value === null) return false;
  if (depthMax === 0) return true;
  return Object.values(value).some((member) => isTooDeep(member, depthMax - 1));
}
