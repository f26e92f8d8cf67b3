/** `records.ts` in Lua: the texts of the records, written and read. Comes after `NOW`. */
import { LOCK_LEASE_US } from "../admission.ts";
import { SUBJECT_SLOT } from "../records.ts";

/** Most counters of a record: a subject's. */
const COUNTERS_MAX = Object.keys(SUBJECT_SLOT).length;
const COUNTER_FORMATS = Array.from({ length: COUNTERS_MAX }, () => "%.0f").join(" ");
const COUNTER_PATTERN = `^(%d+)${" ?(%d*)".repeat(COUNTERS_MAX - 1)}$`;

// Whole microseconds are exact in Lua's doubles until the year 2255; %.0f writes them in full.
export const RECORDS = `
local function write(key, text, us)
  redis.call('SET', key, text, 'PX', math.max(math.ceil(us / 1000), 1))
end
local function rewrite(key, text, us)
  if not redis.call('SET', key, text, 'XX', 'KEEPTTL') then write(key, text, us) end
end
local function is_leased(ends) return ends > now and ends <= now + ${2 * LOCK_LEASE_US} end
local function format_counters(counters)
  return string.format(string.sub('${COUNTER_FORMATS}', 1, 5 * #counters - 1), unpack(counters))
end
local function parse_counters(text)
  if not text then return {} end
  local a, b, c, d, e, f, g = string.match(text, '${COUNTER_PATTERN}')
  return {tonumber(a), tonumber(b), tonumber(c), tonumber(d), tonumber(e), tonumber(f), tonumber(g)}
end
local function format_kind(chat)
  if (chat.uses or 1) > 1 then return string.format('%s%.0f', chat.kind, chat.uses) end
  return chat.kind or '-'
end
local function format_chat(chat)
  local running = chat.running
  local text = string.format('%s %s %.0f %.0f %s %.0f %.0f %s %.0f %s %s',
    format_kind(chat), chat.owner or '-', chat.owner_end or 0, chat.sends, chat.state, chat.doubtful, chat.contested,
    running and running.token or '-', running and running.lease_end or 0,
    running and running.fingerprint or '-', running and running.id or '-')
  for _, entry in ipairs(chat.unresolved) do
    text = text .. string.format(' %s %s %.0f', entry.fingerprint, entry.id, entry.until_us)
  end
  return text
end
local function parse_chat(text)
  local chat = {sends = 0, state = '-', doubtful = 0, contested = 0, unresolved = {}}
  if not text then return chat end
  local kind, owner, owner_end, sends, state, doubtful, contested, token, lease_end, fingerprint, id, rest =
    string.match(text, '^(%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+)(.*)$')
  owner_end = tonumber(owner_end)
  chat.sends, chat.state, chat.doubtful, chat.contested = tonumber(sends), state, tonumber(doubtful), tonumber(contested)
  if kind ~= '-' and owner_end > now then
    chat.kind, chat.owner, chat.owner_end = string.sub(kind, 1, 1), owner, owner_end
    chat.uses = tonumber(string.sub(kind, 2)) or 1
  end
  if token ~= '-' then
    chat.running = {token = token, lease_end = tonumber(lease_end), fingerprint = fingerprint, id = id}
  end
  if rest == '' then return chat end
  for words, of, ends in string.gmatch(rest, ' (%S+) (%S+) (%S+)') do
    local until_us = tonumber(ends)
    if until_us > now then
      chat.unresolved[#chat.unresolved + 1] = {fingerprint = words, id = of, until_us = until_us}
    end
  end
  return chat
end
local function format_key(key)
  return string.format('%s %s %s %s %.0f %s %s',
    key.kind, key.fingerprint, key.attempt, key.holder, key.lease_end, key.state, key.code)
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
