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

/** A claim value that can become a dynamic variable of an agent. */
export type VariableClaim = string | number | boolean;

/**
 * Values of the claims that become variables, by the claim's name. Objects, lists and null are left
 * out. So are whole numbers beyond 2^53: the token's JSON may have held another number.
 */
export function readVariableClaims(
  claims: Readonly<Record<string, unknown>>,
  names: Iterable<string>,
): ReadonlyMap<string, VariableClaim> {
  const values = new Map<string, VariableClaim>();
  for (const name of names) {
    const value = resolveClaim(claims, name);
    if (isVariableClaim(value)) values.set(name, value);
  }
  return values;
}

function isVariableClaim(value: unknown): value is VariableClaim {
  if (typeof value === "number") {
    return Number.isFinite(value) && (!Number.isInteger(value) || Number.isSafeInteger(value));
  }
  return typeof value === "string" || typeof value === "boolean";
}

/**
 * The dynamic variables of a session. A variable whose claim is missing or of another type is
 * `undefined`: it still belongs to the session, and hides what a client sends for it.
 */
export type SessionVariables = Readonly<Record<string, VariableClaim | undefined>>;

/** Most that a session's variables take, in UTF-8 bytes of their JSON. */
const VARIABLES_BYTES_MAX = 4_096;

/**
 * @param mapping claim names by variable; see `SESSION_VARIABLES`
 * @returns "too_large" where the variables take more than 4,096 bytes
 */
export function mapVariables(
  mapping: ReadonlyMap<string, string>,
  values: ReadonlyMap<string, VariableClaim>,
): SessionVariables | "too_large" {
  const variables = Object.fromEntries(
    [...mapping].map(([variable, claim]) => [variable, values.get(claim)]),
  );
  const bytes = new TextEncoder().encode(JSON.stringify(variables)).byteLength;
  return bytes <= VARIABLES_BYTES_MAX ? variables : "too_large";
}
