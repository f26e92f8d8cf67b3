/** Settling the sender of a message, in Lua; `rules/settle.ts` has the same rules. */
import { UNRESOLVED_KEPT_US } from "../admission.ts";
import { CONTESTED } from "../records.ts";
import { CHAT_RULES } from "./chat-rules.ts";
import { KEY_RULES } from "./key-rules.ts";
import { RECORDS } from "./records.ts";
import { SETTLE_ARGUMENTS } from "./settle-arguments.ts";
import { NOW, type RedisScript } from "./script.ts";

/** KEYS and ARGV as `SETTLE_ARGUMENTS` has them. Returns result, now. */
export const settleSenderScript: RedisScript = {
  name: "bffSettle",
  lua: `${NOW}
${RECORDS}
${SETTLE_ARGUMENTS}
${CHAT_RULES}
${KEY_RULES}
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
