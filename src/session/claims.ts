/** Owns looking up a claim whose name the operator chose. */

/**
 * Finds a claim by its literal name first (names may be URLs with dots), then by a dot path.
 * Only own members count: a path such as `constructor.name` finds nothing.
 */
export function resolveClaim(claims: Readonly<Record<string, unknown>>, name: string): unknown {
  if (Object.hasOwn(claims, name)) return claims[name];
  let value: unknown = claims;
  for (const member of name.split(".")) {
    if (typeof value !== "object" || value === null || !Object.hasOwn(value, member)) {
      return undefined;
    }
    value = Reflect.get(value, member);
  }
  return value;
}

/** A claim that can be looked up in the workspace table: a string, or an integer as its digits. */
export function parseWorkspaceClaim(value: unknown): string | undefined {
  if (typeof value === "string") return value;
  return typeof value === "number" && Number.isSafeInteger(value) ? String(value) : undefined;
}

/**
 * The chats that a session is confined to. A claim that is there but is no list of strings opens
 * nothing: a mistake of the issuer must not open every chat.
 */
export function parseChatsClaim(value: unknown): readonly string[] | undefined {
  if (value === undefined) return undefined;
  const list: readonly unknown[] = Array.isArray(value) ? value : [];
  return list.every((item) => typeof item === "string") ? list : [];
}
