/** Writing down who started a chat, in Lua; `rules/own.ts` has the same rules. */
import { CHAT_RULES } from "./chat-rules.ts";
import { IMPORT } from "./import.ts";
import { RECORDS } from "./records.ts";
import { NOW, type RedisScript } from "./script.ts";

/**
 * KEYS: the chat's record. ARGV: the subject's key, how long an owner is kept in microseconds, the
 * transcript state (`-` unknown), whether the chat bears the subject's stamp (empty: no).
 * Returns 1 owned or 2 refused, and now.
 */
export const ownScript: RedisScript = {
  name: "bffOwn",
  lua: `${NOW}
${RECORDS}
${IMPORT}
${CHAT_RULES}
local me, owner_kept, state, stamped = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4] ~= ''
local held = redis.call('GET', KEYS[1])
local chat = held and parse_chat(held) or import_chat(KEYS[1])
local foreign = chat.owner and chat.owner ~= me
if foreign and (chat.kind == 's' or (chat.kind == 'f' and not stamped)) then return {2, now} end
set_owner(chat, 's', me, now + owner_kept)
if chat.sends == 0 and chat.doubtful <= now and chat.state == '-' then chat.state = state end
write_chat(KEYS[1], chat, owner_kept)
return {1, now}
`,
};
