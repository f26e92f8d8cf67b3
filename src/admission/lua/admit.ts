/**
 * Admission in Lua, which Redis runs in one atomic step; `rules/admit.ts` has the same rules.
 *
 * Redis may come to a command late, long after the request was answered 503: it carries a deadline
 * in Redis time and does nothing past it.
 */
import { KEY_KEPT_US, LOCK_LEASE_US } from "../admission.ts";
import { VERDICTS, type Verdict } from "../rules/admit.ts";
import { CHAT_RULES } from "./chat-rules.ts";
import { COUNTER_RULES } from "./counter-rules.ts";
import { IMPORT } from "./import.ts";
import { RECORDS } from "./records.ts";
import { NOW, type RedisScript } from "./script.ts";

const code = (verdict: Verdict) => VERDICTS.indexOf(verdict);

/** Numbers of the admission script before those of its limits. */
const FIXED_NUMBERS = 9;

/**
 * KEYS: the session's end, its subject's record, its workspace's; then, with a chat, the chat's
 * record; then, with an idempotency key, its record; then the address's limit where it has one.
 * ARGV: deadline; when the session was issued in milliseconds; access to the chat (empty: no chat);
 * the subject's key; token of the message (empty: no message), its fingerprint, its message id;
 * whether it has an idempotency key (empty: no); then a JSON array of whole numbers: how long an owner and
 * a provisional one are kept in microseconds; time per KiB of the subject's and the workspace's byte
 * budgets; of the limit on replays slot, interval and tolerance (slot 0: off), then interval and
 * tolerance per KiB, in the slot after; then of each limit the index in KEYS, slot, interval and
 * tolerance.
 * Returns verdict, now, the chat's record, the key's record, whether the answer may be stored, then
 * TATs as `Decision` has them.
 */
export const admitScript: RedisScript = {
  name: "bffAdmit",
  lua: `${NOW}
if now > tonumber(ARGV[1]) then return {0, now} end
${RECORDS}
${IMPORT}
${COUNTER_RULES}
${CHAT_RULES}
local issued, access, me = tonumber(ARGV[2]), ARGV[3], ARGV[4]
local token, fingerprint, id, keyed = ARGV[5], ARGV[6], ARGV[7], ARGV[8] ~= ''
local numbers = cjson.decode(ARGV[9])
local owner_kept, provisional_kept = numbers[1], numbers[2]
local held = redis.call('MGET', unpack(KEYS))
for at = 2, 3 do counters[at] = held[at] and parse_counters(held[at]) or import_counters(KEYS[at]) end
local tats, limited = {}, false
for at = ${FIXED_NUMBERS + 1}, #numbers, 4 do
  local key_at, interval, tolerance = numbers[at], numbers[at + 2], numbers[at + 3]
  if key_at > 3 then counters[key_at] = parse_counters(held[key_at]) end
  local tat = read_tat(key_at, numbers[at + 1], tolerance)
  if tat + interval - now > tolerance then limited = true end
  tats[#tats + 1] = tat
end
local function refuse(verdict, key_text)
  save_counters()
  return {verdict, now, '', key_text or '', 0, unpack(tats)}
end
local function spend(verdict, chat_text, key_text, keyed)
  for i = 1, #tats do
    local at = ${FIXED_NUMBERS - 3} + 4 * i
    tats[i] = tats[i] + numbers[at + 2]
    set_counter(numbers[at], numbers[at + 1], tats[i])
  end
  local storable = keyed and spend_stored(2, 3, numbers[3], numbers[4], 1)
  save_counters()
  return {verdict, now, chat_text or '', key_text or '', storable and 1 or 0, unpack(tats)}
end

if tonumber(held[1] or 0) > now or is_cut_off(2, issued) or is_cut_off(3, issued) then
  return refuse(${code("revoked")})
end
if access == '' then
  if limited then return refuse(${code("limited")}) end
  return spend(${code("admitted")})
end

local chat = held[4] and parse_chat(held[4]) or import_chat(KEYS[4])
local allowed, provisional, confirmed = check_access(chat, access, me)
local key = keyed and parse_key(held[5])
if key and allowed then
  if key.fingerprint ~= fingerprint then return refuse(${code("key_reused")}) end
  if key.kind == 'f' then
    local slot = numbers[5]
    if slot == 0 then return refuse(${code("replayed")}, held[5]) end
    local interval, tolerance = numbers[6], numbers[7]
    local kib_interval, kib_tolerance = numbers[8], numbers[9]
    local size = kib_of(key.answer)
    local cost = math.min(size * kib_interval, kib_tolerance)
    local number, kib = read_tat(2, slot, tolerance), read_tat(2, slot + 1, kib_tolerance)
    if number + interval - now > tolerance or kib + cost - now > kib_tolerance then
      local reply = refuse(${code("replays_limited")})
      reply[#reply + 1], reply[#reply + 2], reply[#reply + 3] = number, kib, size
      return reply
    end
    set_counter(2, slot, number + interval)
    set_counter(2, slot + 1, kib + cost)
    return refuse(${code("replayed")}, held[5])
  end
end
if limited then return refuse(${code("limited")}) end
if not allowed then return spend(${code("denied")}, format_chat(chat)) end
if key then
  if is_leased(key.lease_end) then return refuse(${code("key_in_progress")}) end
  if keep_owner(chat, me, provisional, confirmed, owner_kept, provisional_kept) then
    write_chat(KEYS[4], chat, owner_kept)
  end
  key.holder, key.lease_end = token, now + ${LOCK_LEASE_US}
  local leased = format_key(key)
  rewrite(KEYS[5], leased, ${KEY_KEPT_US})
  return spend(${code("unresolved")}, format_chat(chat), leased, true)
end
if token ~= '' and is_busy(chat) then return refuse(${code("chat_busy")}) end
local kept = keep_owner(chat, me, provisional, confirmed, owner_kept, provisional_kept)
if token ~= '' then
  local contested = begin_message(chat, token, fingerprint, id)
  if keyed then
    write(KEYS[5], format_key({
      kind = 'p', fingerprint = fingerprint, attempt = token, holder = token, lease_end = now + ${LOCK_LEASE_US},
      state = contested and '-' or proven_state(chat), code = '-',
    }), ${KEY_KEPT_US})
  end
end
local written = (kept or token ~= '') and write_chat(KEYS[4], chat, owner_kept)
return spend(${code("admitted")}, written or format_chat(chat), '', keyed)
`,
};
