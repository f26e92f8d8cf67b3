// Owns the checks that come before an operation. Each throws the Refusal; none has an effect.
import type { Context } from "hono";
import type { z } from "zod";
import type { EmulatorEnv } from "./connection.ts";
import { Refusal } from "./refusal.ts";

/** Token to the workspaces it reaches; a Map, so that a token named "constructor" finds nothing. */
export type Tokens = ReadonlyMap<string, readonly number[]>;

/**
 * @returns the ids of the workspaces that the request's token reaches
 * @throws {Refusal} 401 without a known bearer token (RFC 6750 section 2.1)
 */
export function authorize(c: Context<EmulatorEnv>, tokens: Tokens): readonly number[] {
  const token = /^bearer +(\S+)$/i.exec(c.req.header("authorization") ?? "")?.[1];
  const reached = token === undefined ? undefined : tokens.get(token);
  if (reached === undefined) throw new Refusal(401, "unknown token");
  return reached;
}

/** @throws {Refusal} 403 unless `workspaceId` is among `reached` */
export function checkReach(reached: readonly number[], workspaceId: number): void {
  if (!reached.includes(workspaceId)) {
    throw new Refusal(403, "the token does not reach this workspace");
  }
}

/**
 * Reads the JSON body, as strict about types as the API's schema. Members it does not name are
 * tolerated where `schema` tolerates them.
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

/** @throws {Refusal} 400; it names the members, and never repeats what they held */
export function parseValue<T>(value: unknown, schema: z.ZodType<T>): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issues = parsed.error.issues.map(({ path, message }) => `${path.join(".")}: ${message}`);
  throw new Refusal(400, issues.join("; "));
}
