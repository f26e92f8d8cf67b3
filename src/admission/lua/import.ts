/**
 * `rules/import.ts` in Lua: what version 0.1.0 wrote. Comes after `RECORDS`. The names of its keys are
 * derived, in the same slot: they are read only where a record is missing, and not worth being sent
 * with every message.
 */
import { CUT_OFF_AHEAD_MS, UNRESOLVED_KEPT_US } from "../admission.ts";

export const IMPORT = `
local function ends_at(key) return now + redis.call('PTTL', key) * 1000 end
local function import_chat(key)
  local tag, chat_id = string.match(key, '^(.*}:)c2:(.*)$')
  local chat = parse_chat(nil)
  local old = redis.call('MGET', tag .. 'o:' .. chat_id, tag .. 'n:' .. chat_id, tag .. 'l:' .. chat_id)
  local kind, owner = string.match(old[1] or '', '^([sf]) (.*)$')
  if kind then chat.kind, chat.owner, chat.owner_end = kind, owner, ends_at(tag .. 'o:' .. chat_id) end
  local sends, mark, doubtful = string.match(old[2] or '', '^(%d+) (%S+) (%d+)$')
  if sends then
    chat.sends = tonumber(sends)
    chat.state = mark == '*' and '-' or mark
    chat.doubtful = mark == '*' and now + ${UNRESOLVED_KEPT_US} or tonumber(doubtful)
    chat.contested = chat.doubtful
  end
  local token, lease_end = string.match(old[3] or '', '^(%S+) (%d+)$')
  if token then chat.running = {token = token, lease_end = tonumber(lease_end), fingerprint = '-', id = '*'} end
  return chat
end
local function import_counters(key)
  local tag, subject = string.match(key, '^(.*}:)u:(.*)$')
  if not tag then tag = string.match(key, '^(.*}:)w2$') end
  if not tag then return {} end
  local cut_off = subject and tag .. 'c:' .. subject or tag .. 'e'
  local old
  if subject then old = redis.call('MGET', cut_off, tag .. 's:' .. subject, tag .. 'd:' .. subject)
  else old = redis.call('MGET', cut_off, tag .. 'w') end
  local counters = {0, 0, 0}
  local any = false
  if old[1] then
    counters[1], counters[2], any = tonumber(old[1]) + ${CUT_OFF_AHEAD_MS}, ends_at(cut_off), true
  end
  for at = 2, subject and 3 or 2 do
    counters[at + 2] = tonumber(old[at] or 0)
    any = any or counters[at + 2] > 0
  end
  return any and counters or {}
end
`;
