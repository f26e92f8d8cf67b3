/** Schema and limits of the body of `POST /chat`. */
import { z } from "zod";

import { isTooDeep, JSON_DEPTH_MAX } from "../json-depth.ts";
import { findInexactNumbers } from "./exact-numbers.ts";
import { type PathFault, parseBodyBy } from "./message-request.ts";

/** Largest `metadata` and `variables`, each, in UTF-8 bytes of their JSON. */
export const START_MEMBER_BYTES_MAX = 4_096;

/** The names that a client may set: `CHAT_VARIABLES` and `CHAT_METADATA`. */
export interface StartNames {
  readonly variables: ReadonlySet<string>;
  readonly metadata: ReadonlySet<string>;
}

const encoder = new TextEncoder();

const LIMITS = `At most ${START_MEMBER_BYTES_MAX} bytes of JSON and ${JSON_DEPTH_MAX} levels. Numbers that a double cannot keep are refused.`;

function createMemberSchema(names: ReadonlySet<string>, about: string) {
  const shape = Object.fromEntries([...names].map((name) => [name, z.unknown().optional()]));
  const known = names.size === 0 ? "This service accepts no names here." : "No other names.";
  return z
    .strictObject(shape)
    .refine((value) => !isTooDeep(value), {
      error: `must not nest deeper than ${JSON_DEPTH_MAX} levels`,
      abort: true,
    })
    .refine(
      (value) => encoder.encode(JSON.stringify(value)).byteLength <= START_MEMBER_BYTES_MAX,
      `must be at most ${START_MEMBER_BYTES_MAX} bytes of JSON`,
    )
    .optional()
    .meta({ description: `${about} ${known} ${LIMITS}` });
}

/**
 * Creates the schema of the body of `POST /chat`.
 *
 * @param names neither list has the owner stamp's name; the configuration refuses it
 */
export function createStartSchema(names: StartNames) {
  return z.strictObject({
    metadata: createMemberSchema(names.metadata, "Kept with the chat."),
    variables: createMemberSchema(names.variables, "The agent's dynamic variables."),
  });
}

export type StartSchema = ReturnType<typeof createStartSchema>;
export type StartBody = z.output<StartSchema>;

/**
 * Parses and validates the body of `POST /chat`.
 *
 * @param bytes the raw body; no bytes count as an empty object
 * @throws Problem `invalid_request` with a pointer to each fault
 */
export function parseStartBody(bytes: Uint8Array, schema: StartSchema): StartBody {
  if (bytes.byteLength === 0) return {};
  return parseBodyBy(bytes, { schema, describeUnknown, findFaults });
}

function describeUnknown([member]: readonly PropertyKey[]): string {
  if (member === undefined) return "is not a member of this request";
  const list = member === "variables" ? "CHAT_VARIABLES" : "CHAT_METADATA";
  return `is not allowed: the operator lists the allowed names in ${list}`;
}

/** Finds numbers that would change on their way to UponAI; a client can send them as strings. */
function findFaults(text: string): readonly PathFault[] {
  return findInexactNumbers(text).map((path) => ({
    path,
    detail: "must be a number that a double can keep; send it as a string",
  }));
}
