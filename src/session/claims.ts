/** Resolves the claims whose names the operator configured: workspace, chats and variables. */

/**
 * Resolves a claim: first by its literal name (names can be URLs with dots), then as a dot path.
 * Inherited members are ignored, so that a path such as `constructor.name` finds nothing.
 *
 * @returns the value as the token has it; undefined if there is none
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

/**
 * Parses the workspace claim: a string, or an integer as its digits. Undefined for anything else.
 */
export function parseWorkspaceClaim(value: unknown): string | undefined {
  if (typeof value === "string") return value;
  return typeof value === "number" && Number.isSafeInteger(value) ? String(value) : undefined;
}

/**
 * Parses the chats claim: the ids of the chats that the session is confined to. Undefined if there
 * is no claim. A claim that is not a list of strings allows no chat, so that a mistake of the
 * issuer does not open all chats.
 */
export function parseChatsClaim(value: unknown): readonly string[] | undefined {
  if (value === undefined) return undefined;
  const list: readonly unknown[] = Array.isArray(value) ? value : [];
  return list.every((item) => typeof item === "string") ? list : [];
}

/** Value of a claim that can become a dynamic variable of an agent. */
export type VariableClaim = string | number | boolean;

/**
 * Resolves the claims that become variables, by the name of the claim. Objects, lists and null are
 * left out. So are integers beyond 2^53: `JSON.parse` may have changed them.
 */
export function resolveVariableClaims(
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
 * The dynamic variables that a session sets. The value is undefined if the claim is missing or has
 * another type. Such a variable still belongs to the session: a value that the client sends for it
 * is ignored.
 */
export type SessionVariables = Readonly<Record<string, VariableClaim | undefined>>;

/** Largest size of the variables of a session, in UTF-8 bytes of their JSON. */
const VARIABLES_BYTES_MAX = 4_096;

/**
 * Maps resolved claims to the variables of a session.
 *
 * @param mapping names of claims by variable (`SESSION_VARIABLES`)
 * @param values values by the name of the claim, from `resolveVariableClaims`
 * @returns "too_large" if the variables take more than 4,096 bytes
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
