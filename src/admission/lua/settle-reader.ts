/** Settling a request that read or ended a chat, in Lua; `rules/settle.ts` has the same rules. */
import { CHAT_RULES } from "./chat-rules.ts";
import { RECORDS } from "./records.ts";
import { NOW, type RedisScript } from "./script.ts";

/**
 * KEYS: the chat's record. ARGV: how many messages had been let in, the transcript state (`-` unknown),
 * how long an owner is kept in microseconds, the subject's key, how it is confirmed as owner (`s`, `f`,
 * empty: not). Returns result, now.
 */
export const settleReaderScript: RedisScript = {
  name: "bffSettleReading",
  lua: `${NOW}
${RECORDS}
${CHAT_RULES}
local sends, after, owner_kept, me, confirmed = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]
local chat = read_chat(KEYS[1])
settle_owner(chat, me, confirmed, owner_kept)
if after ~= '-' and chat.sends == sends and not chat.running then chat.state = after end
write_chat(KEYS[1], chat, owner_kept)
return {is_foreign(chat, me, confirmed) and 4 or 1, now}
`,
};
