/** The arguments of the scripts that settle a message, in Lua. Comes after `RECORDS`. */
import { COUNTER_RULES } from "./counter-rules.ts";
import { IMPORT } from "./import.ts";

/**
 * KEYS: the chat's record; then, with an idempotency key, its record; then, where bytes are to be
 * spent, the subject's record and the workspace's.
 * ARGV: the answer; then a JSON array: token; fingerprint; message id; disposition; whether the answer
 * was recovered; how many messages had been let in; how long an owner is kept in microseconds; the
 * subject's key; how it is confirmed as owner (`s`, `f`, empty: not); transcript state after and before
 * the message (`-` unknown); code of an unknown outcome; whether the answer is to be stored; KiB to be
 * spent (negative: given back, once the message was not taken); time per KiB of the subject's and the
 * workspace's byte budgets.
 */
export const SETTLE_ARGUMENTS = `
local given = cjson.decode(ARGV[2])
local token, fingerprint, id, disposition, recovered = given[1], given[2], given[3], given[4], given[5]
local sends, owner_kept, me, confirmed = given[6], given[7], given[8], given[9]
local after, before, code = given[10], given[11], given[12]
local stored = given[13] and ARGV[1] or nil
local kib = given[14]
local function spend_answer()
  if kib == 0 then return true end
  -- In here, since most answers need none of it, and each function costs time to be made.
${IMPORT}
${COUNTER_RULES}
  if not spend_stored(3, 4, given[15], given[16], kib) then return false end
  save_counters()
  return true
end
`;
