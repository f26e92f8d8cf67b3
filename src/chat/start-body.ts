/** Owns what a client may say when it starts a chat. */
import { z } from "zod";

import { isTooDeep, JSON_DEPTH_MAX } from "../json-depth.ts";
import { parseBody } from "./message-body.ts";
import { OWNER_STAMP } from "./owner-stamp.ts";

/** Largest `metadata` and `variables`, each, in UTF-8 bytes of their JSON. */
export const START_MEMBER_BYTES_MAX = 4_096;

const encoder = new TextEncoder();

const member = z
  .record(z.string(), z.unknown())
  .refine((value) => !isTooDeep(value), {
    error: `must not nest deeper than ${JSON_DEPTH_MAX} levels`,
    abort: true,
  })
  .refine(
    (value) => encoder.encode(JSON.stringify(value)).byteLength <= START_MEMBER_BYTES_MAX,
    `must be at most ${START_MEMBER_BYTES_MAX} bytes of JSON`,
  );

export const startSchema = z.strictObject({
  metadata: member
    .refine((value) => !Object.hasOwn(value, OWNER_STAMP), {
      error: "is reserved",
      path: [OWNER_STAMP],
    })
    .optional()
    .meta({ description: `Kept with the chat; at most ${START_MEMBER_BYTES_MAX} bytes of JSON.` }),
  variables: member.optional().meta({
    description: `The agent's dynamic variables; at most ${START_MEMBER_BYTES_MAX} bytes of JSON.`,
  }),
});

export type StartBody = z.output<typeof startSchema>;

/**
 * @param bytes the raw body; none at all is an empty one
 * @throws Problem `invalid_request` with a pointer to each fault
 */
export function parseStartBody(bytes: Uint8Array): StartBody {
  return bytes.byteLength === 0 ? {} : parseBody(bytes, startSchema);
}
