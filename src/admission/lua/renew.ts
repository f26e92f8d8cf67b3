/** Renewing a lease, in Lua; `rules/renew.ts` has the same rules. */
import { KEY_KEPT_US, LOCK_LEASE_US } from "../admission.ts";
import { CONTESTED } from "../records.ts";
import { CHAT_RULES } from "./chat-rules.ts";
import { KEY_RULES } from "./key-rules.ts";
import { RECORDS } from "./records.ts";
import { NOW, type RedisScript } from "./script.ts";

/**
 * KEYS: the chat's record, then the idempotency key's if there is one.
 * ARGV: deadline, token, fingerprint, message id, whether a message is being sent (empty: no), how many
 * messages had been let in, transcript state before it (`-` unknown or known before), how long an owner
 * is kept in microseconds.
 * Returns 0 late, 1 renewed or 2 lost, and now.
 */
export const renewScript: RedisScript = {
  name: "bffRenew",
  lua: `${NOW}
if now > tonumber(ARGV[1]) then return {0, now} end
${RECORDS}
${CHAT_RULES}
${KEY_RULES}
local token, fingerprint, id, sending = ARGV[2], ARGV[3], ARGV[4], ARGV[5] ~= ''
local sends, before, owner_kept = tonumber(ARGV[6]), ARGV[7], tonumber(ARGV[8])
local held = redis.call('MGET', unpack(KEYS))
local ends = now + ${LOCK_LEASE_US}
local key
if KEYS[2] then
  key = read_open(held[2]) or (sending and recall_key(held[2], token, fingerprint)) or nil
end
local holds = key ~= nil and key.holder == token
if holds then
  key.lease_end = ends
  if before ~= '-' then key.state = before end
  rewrite(KEYS[2], format_key(key), ${KEY_KEPT_US})
end
if not sending then return {holds and 1 or 2, now} end
local chat = parse_chat(held[1])
if chat.running and chat.running.token == token then
  chat.running.lease_end = ends
else
  if is_busy(chat) then return {2, now} end
  abandon_running(chat)
  local running_id = is_sole(chat, fingerprint, id) and id or '${CONTESTED}'
  resolve_message(chat, fingerprint, id)
  chat.running = {token = token, lease_end = ends, fingerprint = fingerprint, id = running_id}
  chat.state, chat.sends = '-', math.max(chat.sends, sends)
end
write_chat(KEYS[1], chat, owner_kept)
return {1, now}
`,
};
