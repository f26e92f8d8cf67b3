/** Text forms of `CHAT_VARIABLES`, `CHAT_METADATA` and `SESSION_VARIABLES`. */

/** Most names in one list. Their variables must fit into 4,096 bytes together. */
const NAMES_MAX = 32;

const NAME = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$/;

/** The owner stamp of a chat has a name with this prefix; see `src/chat/owner-stamp.ts`. */
const RESERVED_PREFIX = "uponai_bff_";

/** Whether a variable or a metadata member may have this name. */
function isAllowedName(name: string): boolean {
  // `__proto__`, `constructor` and the like mean something else to JavaScript objects.
  return NAME.test(name) && !name.startsWith(RESERVED_PREFIX) && !(name in Object.prototype);
}

/** Reads `name,name2` as a set of names; a name given twice counts once. */
export function parseNames(text: string): ReadonlySet<string> | undefined {
  const names = new Set(text.split(",").map((name) => name.trim()));
  return names.size <= NAMES_MAX && [...names].every(isAllowedName) ? names : undefined;
}

/**
 * Reads `variable=claim,variable2=claim2` as claims by variable. The first `=` separates the two:
 * claim names may hold more of them, but no comma. A variable given twice is refused.
 */
export function parseVariableMapping(text: string): ReadonlyMap<string, string> | undefined {
  const entries = text.split(",");
  const mapping = new Map<string, string>();
  for (const entry of entries) {
    const separator = entry.indexOf("=");
    const variable = entry.slice(0, Math.max(separator, 0)).trim();
    const claim = entry.slice(separator + 1).trim();
    if (!isAllowedName(variable) || claim === "") return undefined;
    mapping.set(variable, claim);
  }
  return mapping.size === entries.length && mapping.size <= NAMES_MAX ? mapping : undefined;
}
