/** Settling the sender of a message, in Lua; `rules/settle.ts` has the same rules. */
import { UNRESOLVED_KEPT_US } from "../admission.ts";
import { CONTESTED } from "../records.ts";
import { CHAT_RULES } from "./chat-rules.ts";
import { COUNTER_RULES } from "./counter-rules.ts";
import { IMPORT } from "./import.ts";
import { KEY_RULES } from "./key-rules.ts";
import { RECORDS } from "./records.ts";
import { NOW, type RedisScript } from "./script.ts";

/**
 * KEYS: the chat's record; then, with an idempotency key, its record; then, where bytes are to be
 * spent, the subject's record and the workspace's.
 * ARGV: token; fingerprint; message id; disposition; whether the answer was recovered (empty: no);
 * how many messages had been let in; how long an owner is kept in microseconds; the subject's key; how
 * it is confirmed as owner (`s`, `f`, empty: not); transcript state after and before the message (`-`
 * unknown); code of an unknown outcome; whether the answer is to be stored (empty: no); the answer; KiB
 * to be spent (negative: given back, once the message was not taken); time per KiB of the subject's and the workspace's byte budgets.
 * Returns result, now.
 */
export const settleSenderScript: RedisScript = {
  name: "bffSettle",
  lua: `${NOW}
${RECORDS}
${CHAT_RULES}
${KEY_RULES}
local token, fingerprint, id, disposition, recovered = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5] ~= ''
local sends, owner_kept, me, confirmed = tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8], ARGV[9]
local after, before, code = ARGV[10], ARGV[11], ARGV[12]
local stored = ARGV[13] ~= '' and ARGV[14] or nil
local kib = tonumber(ARGV[15])
local function spend_answer()
  if kib == 0 then return true end
  -- In here, since most answers need none of it, and each function costs time to be made.
${IMPORT}
${COUNTER_RULES}
  if not spend_stored(3, 4, tonumber(ARGV[16]), tonumber(ARGV[17]), kib) then return false end
  save_counters()
  return true
end
local function settle_out_of_turn(chat, taken)
  local again = taken and chat.sends == sends and not chat.running
  local until_us = now + ${UNRESOLVED_KEPT_US}
  chat.sends, chat.state = math.max(chat.sends, sends), '-'
  if again then return end
  chat.doubtful = math.max(chat.doubtful, until_us)
  local contested = not is_unresolved(chat, fingerprint, id) and contest_words(chat, fingerprint)
  if chat.running and chat.running.fingerprint == fingerprint then chat.running.id = '${CONTESTED}' end
  if not taken then add_unresolved(chat, fingerprint, contested and '${CONTESTED}' or id, until_us) end
end

local held = redis.call('MGET', unpack(KEYS))
local chat = parse_chat(held[1])
local mine = chat.running ~= nil and chat.running.token == token
local leased = mine and is_busy(chat)
local sole = mine and is_sole(chat, fingerprint, id)
local contested = recovered and not sole
if contested then disposition = 'unknown' end
settle_owner(chat, me, confirmed, owner_kept)
if disposition ~= 'unknown' then resolve_message(chat, fingerprint, id) end
if mine then
  local running_id = chat.running.id
  chat.running = nil
  local alone = chat.sends == sends
  if disposition == 'not_taken' and alone then chat.sends = chat.sends - 1 end
  if disposition == 'unknown' then add_unresolved(chat, fingerprint, running_id, now + ${UNRESOLVED_KEPT_US})
  else chat.state = alone and chat.doubtful <= now and after or '-' end
elseif disposition ~= 'not_taken' then
  settle_out_of_turn(chat, disposition == 'taken')
end
write_chat(KEYS[1], chat, owner_kept)

local record_key = KEYS[2]
local key = record_key and (read_open(held[2]) or recall_key(held[2], token, fingerprint))
if key and key.kind == 'p' and key.attempt == token then
  if before == '-' then before = key.state end
  if disposition == 'not_taken' then
    redis.call('DEL', record_key)
    if kib < 0 and held[2] then spend_answer() end
  elseif disposition == 'taken' then
    key.state = sole and before or '-'
    finish_key(record_key, key, stored, spend_answer)
  elseif key.holder == token then
    if not contested then key.state, key.code = before, code end
    close_key(record_key, key)
  end
end
if contested then return {3, now} end
if is_foreign(chat, me, confirmed) then return {4, now} end
return {leased and 1 or 2, now}
`,
};
