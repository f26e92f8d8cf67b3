/** Settling a request that looked for an answer, in Lua; `rules/settle.ts` has the same rules. */
import { CONTESTED } from "../records.ts";
import { CHAT_RULES } from "./chat-rules.ts";
import { KEY_RULES } from "./key-rules.ts";
import { RECORDS } from "./records.ts";
import { SETTLE_ARGUMENTS } from "./settle-arguments.ts";
import { NOW, type RedisScript } from "./script.ts";

/** KEYS and ARGV as `SETTLE_ARGUMENTS` has them; of these, only what a recoverer needs counts. */
export const settleRecovererScript: RedisScript = {
  name: "bffSettleRecovering",
  lua: `${NOW}
${RECORDS}
${SETTLE_ARGUMENTS}
${CHAT_RULES}
${KEY_RULES}
local held = redis.call('MGET', unpack(KEYS))
local chat = parse_chat(held[1])
local key = read_open(held[2])
local holds = key ~= nil and key.holder == token
local proven = recovered and holds and (key.kind == 'a' or is_sole(chat, fingerprint, id))
settle_owner(chat, me, confirmed, owner_kept)
if proven then
  resolve_message(chat, fingerprint, id)
  if chat.running and matches(chat.running, fingerprint, id) then
    if is_busy(chat) then chat.running.id = '${CONTESTED}' else chat.running = nil end
    chat.state = '-'
  end
end
write_chat(KEYS[1], chat, owner_kept)
if not holds then return {3, now} end
if proven then finish_key(KEYS[2], key, stored, spend_answer) else close_key(KEYS[2], key) end
if recovered and not proven then return {3, now} end
return {is_foreign(chat, me, confirmed) and 4 or 1, now}
`,
};
