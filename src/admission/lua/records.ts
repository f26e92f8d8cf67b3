/** `records.ts` in Lua: the texts of the records, written and read. Comes after `NOW`. */
import { LOCK_LEASE_US } from "../admission.ts";

// Whole microseconds are exact in Lua's doubles until the year 2255; %.0f writes them in full.
export const RECORDS = `
local function whole(number) return string.format('%.0f', number) end
local function write(key, text, us)
  redis.call('SET', key, text, 'PX', math.max(math.ceil(us / 1000), 1))
end
local function rewrite(key, text, us)
  if not redis.call('SET', key, text, 'XX', 'KEEPTTL') then write(key, text, us) end
end
local function is_leased(ends) return ends > now and ends <= now + ${2 * LOCK_LEASE_US} end
local function format_counters(counters)
  local texts = {}
  for at = 1, #counters do texts[at] = whole(counters[at]) end
  return table.concat(texts, ' ')
end
local function parse_counters(text)
  local counters = {}
  for word in string.gmatch(text or '', '%S+') do counters[#counters + 1] = tonumber(word) end
  return counters
end
local function format_chat(chat)
  local texts = {
    chat.kind or '-', chat.owner or '-', whole(chat.owner_end or 0), whole(chat.sends), chat.state,
    whole(chat.doubtful), whole(chat.contested),
  }
  local running = chat.running
  if running then
    texts[8], texts[9], texts[10], texts[11] = running.token, whole(running.lease_end), running.fingerprint, running.id
  else
    texts[8], texts[9], texts[10], texts[11] = '-', '0', '-', '-'
  end
  for _, entry in ipairs(chat.unresolved) do
    texts[#texts + 1] = entry.fingerprint
    texts[#texts + 1] = entry.id
    texts[#texts + 1] = whole(entry.until_us)
  end
  return table.concat(texts, ' ')
end
local function parse_chat(text)
  local f = {}
  for word in string.gmatch(text or '- - 0 0 - 0 0 - 0 - -', '%S+') do f[#f + 1] = word end
  local chat = {
    sends = tonumber(f[4]), state = f[5], doubtful = tonumber(f[6]), contested = tonumber(f[7]), unresolved = {},
  }
  if f[1] ~= '-' and tonumber(f[3]) > now then
    chat.kind, chat.owner, chat.owner_end = f[1], f[2], tonumber(f[3])
  end
  if f[8] ~= '-' then
    chat.running = {token = f[8], lease_end = tonumber(f[9]), fingerprint = f[10], id = f[11]}
  end
  for at = 12, #f, 3 do
    local until_us = tonumber(f[at + 2])
    if until_us > now then
      chat.unresolved[#chat.unresolved + 1] = {fingerprint = f[at], id = f[at + 1], until_us = until_us}
    end
  end
  return chat
end
local function format_key(key)
  return table.concat(
    {key.kind, key.fingerprint, key.attempt, key.holder, whole(key.lease_end), key.state, key.code}, ' ')
end
local function parse_key(text)
  if not text then return nil end
  local fingerprint, answer = string.match(text, '^f (%S+) (.*)$')
  if fingerprint then return {kind = 'f', fingerprint = fingerprint, answer = answer} end
  local kind, words, attempt, holder, lease_end, state, code =
    string.match(text, '^(%a) (%S+) (%S+) (%S+) (%d+) (%S+) (%S+)$')
  return {
    kind = kind, fingerprint = words, attempt = attempt, holder = holder, lease_end = tonumber(lease_end),
    state = state, code = code,
  }
end
`;
