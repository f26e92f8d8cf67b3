/** Taking an admission back, in Lua; `rules/withdraw.ts` has the same rules. */
import { REFUND_KIB } from "../rules/key-rules.ts";
import { CHAT_RULES } from "./chat-rules.ts";
import { COUNTER_RULES } from "./counter-rules.ts";
import { IMPORT } from "./import.ts";
import { KEY_RULES } from "./key-rules.ts";
import { RECORDS } from "./records.ts";
import { NOW, type RedisScript } from "./script.ts";

/** Arguments of the script before those of its limits. */
const FIXED_ARGS = 8;

/**
 * KEYS: as many as there are limits, one each; then, with a chat, the chat's record; then, with an
 * idempotency key, its record, the subject's record and the workspace's.
 * ARGV: whether the decision is known (empty: no); token (empty: no message), fingerprint, message id;
 * the subject's key; how long an owner is kept in microseconds; time per KiB of the subject's and the
 * workspace's byte budgets; then of each limit slot and interval.
 */
export const withdrawScript: RedisScript = {
  name: "bffWithdraw",
  lua: `${NOW}
${RECORDS}
${IMPORT}
${COUNTER_RULES}
${CHAT_RULES}
${KEY_RULES}
local proven, token, fingerprint, id = ARGV[1] ~= '', ARGV[2], ARGV[3], ARGV[4]
local me, owner_kept = ARGV[5], tonumber(ARGV[6])
local limits = (#ARGV - ${FIXED_ARGS}) / 2
local refund = false
local chat_key, record_key = KEYS[limits + 1], KEYS[limits + 2]
if chat_key then
  local chat = read_chat(chat_key)
  local key = record_key and read_open(redis.call('GET', record_key))
  if token ~= '' then
    local sent = chat.running ~= nil and chat.running.token == token
    local attempted = key and key.kind == 'p' and key.attempt == token
    local holds = key and key.holder == token
    if sent or attempted or holds then proven = true end
    refund = attempted or (holds and key.lease_end > 0)
    if sent then
      chat.running = nil
      chat.sends = chat.sends - 1
    end
    if sent or attempted then resolve_message(chat, fingerprint, id) end
    if attempted then redis.call('DEL', record_key)
    elseif holds then close_key(record_key, key) end
  end
  if proven then
    settle_owner(chat, me, '', owner_kept)
    write_chat(chat_key, chat, owner_kept)
  end
end
if not proven then return 0 end
-- Two limits may be kept in one record: each is read and written by itself.
for at = 1, limits do
  local slot, interval = tonumber(ARGV[${FIXED_ARGS - 1} + 2 * at]), tonumber(ARGV[${FIXED_ARGS} + 2 * at])
  local held = parse_counters(redis.call('GET', KEYS[at]))
  if held[slot] then
    counters[at] = held
    set_counter(at, slot, math.max(held[slot] - interval, 0))
    save_counters()
    changed = {}
  end
end
if refund then
  spend_stored(limits + 3, limits + 4, tonumber(ARGV[7]), tonumber(ARGV[8]), ${REFUND_KIB})
  save_counters()
end
return now
`,
};
