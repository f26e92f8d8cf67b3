/** `rules/chat-rules.ts` in Lua, under the same names. Comes after `RECORDS`. */
import { UNRESOLVED_KEPT_US, LOCK_LEASE_US } from "../admission.ts";
import { CONTESTED, UNRESOLVED_MAX } from "../records.ts";

export const CHAT_RULES = `
local function read_chat(key) return parse_chat(redis.call('GET', key)) end
local function write_chat(key, chat, owner_kept)
  local ends = math.max(chat.owner_end or 0, chat.doubtful, chat.contested)
  local proven = chat.state ~= '-' or (chat.owner and chat.kind ~= 'p')
  local kept = proven and owner_kept or math.min(owner_kept, ${UNRESOLVED_KEPT_US})
  if chat.sends > 0 or chat.state ~= '-' then ends = math.max(ends, now + kept) end
  for _, entry in ipairs(chat.unresolved) do ends = math.max(ends, entry.until_us) end
  if ends <= now then
    redis.call('DEL', key)
    return nil
  end
  local text = format_chat(chat)
  write(key, text, ends - now)
  return text
end
local function is_busy(chat) return chat.running ~= nil and is_leased(chat.running.lease_end) end
local function set_owner(chat, kind, owner, owner_end, uses)
  chat.kind, chat.owner, chat.owner_end, chat.uses = kind, owner, owner_end, uses or 1
end
local function check_access(chat, access, me)
  local own = chat.owner == me
  local open = access == 'open' or access == 'open-first-use'
  local may_own = access == 'first-use' or access == 'open-first-use'
  local allowed = open
    or (access == 'first-use' and (own or not chat.owner))
    or (access == 'started' and own and chat.kind == 's')
  local provisional = may_own and (not chat.owner or (own and chat.kind == 'p'))
  return allowed, provisional, own and chat.kind ~= 'p'
end
local function keep_owner(chat, me, provisional, confirmed, owner_kept, provisional_kept)
  if provisional then
    set_owner(chat, 'p', me, now + provisional_kept, chat.owner and chat.uses + 1)
    return true
  end
  if not confirmed then return false end
  chat.owner_end = now + owner_kept
  return true
end
local function settle_owner(chat, me, confirmed, owner_kept)
  local provisional = chat.kind == 'p' and chat.owner == me
  if confirmed == 's' then
    if chat.kind ~= 's' then set_owner(chat, 's', me, now + owner_kept) end
  elseif confirmed == 'f' then
    if provisional or not chat.owner then set_owner(chat, 'f', me, now + owner_kept) end
  elseif provisional then
    if chat.uses > 1 then chat.uses = chat.uses - 1 else set_owner(chat, nil, nil, nil) end
  end
end
local function is_foreign(chat, me, confirmed) return confirmed ~= '' and chat.owner ~= me end
local function matches(entry, fingerprint, id) return entry.fingerprint == fingerprint and entry.id == id end
local function resolve_message(chat, fingerprint, id)
  local others = {}
  for _, entry in ipairs(chat.unresolved) do
    if not matches(entry, fingerprint, id) then others[#others + 1] = entry end
  end
  chat.unresolved = others
end
local function is_unresolved(chat, fingerprint, id)
  for _, entry in ipairs(chat.unresolved) do
    if matches(entry, fingerprint, id) then return true end
  end
  return false
end
local function is_sole(chat, fingerprint, id)
  return (chat.running ~= nil and matches(chat.running, fingerprint, id)) or is_unresolved(chat, fingerprint, id)
end
local function add_unresolved(chat, fingerprint, id, until_us)
  chat.state = '-'
  if until_us <= now then return end
  chat.doubtful = math.max(chat.doubtful, until_us)
  local latest = until_us
  for _, entry in ipairs(chat.unresolved) do
    if matches(entry, fingerprint, id) then latest = math.max(latest, entry.until_us) end
  end
  resolve_message(chat, fingerprint, id)
  local all = chat.unresolved
  all[#all + 1] = {fingerprint = fingerprint, id = id, until_us = latest}
  if #all <= ${UNRESOLVED_MAX} then return end
  for _, entry in ipairs(all) do chat.contested = math.max(chat.contested, entry.until_us) end
  chat.unresolved = {}
end
local function abandon_running(chat)
  local running = chat.running
  if not running then return end
  chat.running = nil
  add_unresolved(chat, running.fingerprint, running.id, math.min(running.lease_end, now) + ${UNRESOLVED_KEPT_US})
end
local function contest_words(chat, fingerprint)
  local others, latest = {}, 0
  for _, entry in ipairs(chat.unresolved) do
    if entry.fingerprint == fingerprint then latest = math.max(latest, entry.until_us)
    else others[#others + 1] = entry end
  end
  if latest == 0 then return chat.contested > now end
  others[#others + 1] = {fingerprint = fingerprint, id = '${CONTESTED}', until_us = latest}
  chat.unresolved = others
  return true
end
local function begin_message(chat, token, fingerprint, id)
  abandon_running(chat)
  local contested = contest_words(chat, fingerprint)
  if contested then id = '${CONTESTED}' end
  chat.running = {token = token, lease_end = now + ${LOCK_LEASE_US}, fingerprint = fingerprint, id = id}
  chat.sends = chat.sends + 1
  return contested
end
local function proven_state(chat)
  if chat.doubtful > now then return '-' end
  return chat.state
end
`;
