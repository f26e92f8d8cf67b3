/** Parses the lists of names in `CHAT_VARIABLES`, `CHAT_METADATA` and `SESSION_VARIABLES`. */

/** Largest number of names in one list. Their values together must fit into 4,096 bytes. */
export const NAMES_MAX = 32;

const NAME = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$/;

/** Prefix of the owner stamp's name (see `src/chat/owner-stamp.ts`); a client must not choose it. */
export const RESERVED_PREFIX = "uponai_bff_";

/** Whether a variable or a metadata member can have this name. */
function isAllowedName(name: string): boolean {
  // Names such as `__proto__` and `constructor` have a special meaning on JavaScript objects.
  return NAME.test(name) && !name.startsWith(RESERVED_PREFIX) && !(name in Object.prototype);
}

/** Parses `name,name2` to a set of names. Returns undefined where a name is not allowed. */
export function parseNames(text: string): ReadonlySet<string> | undefined {
  const names = new Set(text.split(",").map((name) => name.trim()));
  return names.size <= NAMES_MAX && [...names].every(isAllowedName) ? names : undefined;
}

/**
 * Parses `variable=claim,variable2=claim2` to the claims by variable. The first `=` separates the
 * two: a claim name can contain more of them, but no comma. Returns undefined where a name is not
 * allowed or a variable occurs twice.
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
