// Checks before an operation. Each throws a Refusal and changes nothing.
import type { Context } from "hono";
import type { z } from "zod";
import type { EmulatorEnv } from "./connection.ts";
import { Refusal } from "./refusal.ts";

/** The workspaces that each token reaches. A Map, so that a token "constructor" finds nothing. */
export type Tokens = ReadonlyMap<string, readonly number[]>;

/**
 * Checks the token of a request.
 *
 * @returns the ids of the workspaces that the token reaches
 * @throws {Refusal} 401 without a known bearer token (RFC 6750 section 2.1)
 */
export function authorize(c: Context<EmulatorEnv>, tokens: Tokens): readonly number[] {
  const token = /^bearer +(\S+)$/i.exec(c.req.header("authorization") ?? "")?.[1];
  const reached = token === undefined ? undefined : tokens.get(token);
  if (reached === undefined) throw new Refusal(401, "unknown token");
  return reached;
}

/**
 * Checks that a token reaches a workspace.
 * @throws {Refusal} 403 unless `workspaceId` is among `reached`
 */
export function checkReach(reached: readonly number[], workspaceId: number): void {
  if (!reached.includes(workspaceId)) {
    throw new Refusal(403, "the token does not reach this workspace");
  }
}

/**
 * Parses the JSON body with the API's schema. Unknown members are accepted where `schema` accepts
 * them.
 *
 * @throws {Refusal} 415 if it is not declared as JSON, 400 if it is malformed
 */
export function parseBody<T>(c: Context<EmulatorEnv>, schema: z.ZodType<T>): T {
  const mediaType = c.req.header("content-type")?.split(";", 1)[0]?.trim().toLowerCase();
  if (mediaType !== "application/json") throw new Refusal(415, "the body must be application/json");
  let value: unknown;
  try {
    value = JSON.parse(c.get("body"));
  } catch {
    throw new Refusal(400, "the body is not JSON");
  }
  return parseValue(value, schema);
}

/**
 * Validates a value.
 * @throws {Refusal} 400 with the names of the wrong members, never with their values
 */
export function parseValue<T>(value: unknown, schema: z.ZodType<T>): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issues = parsed.error.issues.map(({ path, message }) => `${path.join(".")}: ${message}`);
  throw new Refusal(400, issues.join("; "));
}
