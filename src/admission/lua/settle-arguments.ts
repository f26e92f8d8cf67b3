/** The arguments of the scripts that settle a message, in Lua. Comes after `RECORDS`. */
import { COUNTER_RULES } from "./counter-rules.ts";
import { IMPORT } from "./import.ts";

/**
 * KEYS: the chat's record; then, with an idempotency key, its record; then, where bytes are to be
 * spent, the subject's record and the workspace's.
 * ARGV: the answer; then in one text, each with a comma behind it: token; fingerprint; message id;
 * disposition; whether the answer was recovered (empty: no); how many messages had been let in; how
 * long an owner is kept in microseconds; the subject's key; how it is confirmed as owner (`s`, `f`,
 * empty: not); transcript state after and before the message (`-` unknown); code of an unknown
 * outcome; whether the answer is to be stored (empty: no); KiB to be spent (negative: given back, once
 * the message was not taken); time per KiB of the subject's and the workspace's byte budgets.
 */
export const SETTLE_ARGUMENTS = `
local given = {}
for word in string.gmatch(ARGV[2], '([^,]*),') do given[#given + 1] = word end
local token, fingerprint, id, disposition, recovered = given[1], given[2], given[3], given[4], given[5] ~= ''
local sends, owner_kept, me, confirmed = tonumber(given[6]), tonumber(given[7]), given[8], given[9]
local after, before, code = given[10], given[11], given[12]
local stored = given[13] ~= '' and ARGV[1] or nil
local kib = tonumber(given[14])
local function spend_answer()
  if kib == 0 then return true end
  -- In here, since most answers need none of it, and each function costs time to be made.
${IMPORT}
${COUNTER_RULES}
  if not spend_stored(3, 4, tonumber(given[15]), tonumber(given[16]), kib) then return false end
  save_counters()
  return true
end
`;
