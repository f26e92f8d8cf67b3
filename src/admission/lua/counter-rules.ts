/** `rules/counter-rules.ts` in Lua. Comes after `RECORDS` and `IMPORT`; counters are named by their index in KEYS. */
import { SUBJECT_SLOT } from "../records.ts";
import { STORED_WINDOW_US } from "../state-settings.ts";

/** Lua counts from 1. */
const STORED = SUBJECT_SLOT.stored + 1;

export const COUNTER_RULES = `
local counters, changed = {}, {}
local function open(at)
  if not counters[at] then
    local text = redis.call('GET', KEYS[at])
    counters[at] = text and parse_counters(text) or import_counters(KEYS[at])
  end
  return counters[at]
end
local function read_counter(at, slot) return open(at)[slot] or 0 end
local function set_counter(at, slot, value)
  local opened = open(at)
  for hole = #opened + 1, slot - 1 do opened[hole] = 0 end
  opened[slot] = value
  changed[at] = true
end
local function save_counters()
  for at in pairs(changed) do
    local ends = math.max(unpack(counters[at]))
    if ends > now then write(KEYS[at], format_counters(counters[at]), ends - now)
    else redis.call('DEL', KEYS[at]) end
  end
end
local function read_tat(at, slot, tolerance)
  local tat = read_counter(at, slot)
  if tat <= now then return now end
  if tat > now + tolerance then
    tat = now + tolerance
    set_counter(at, slot, tat)
  end
  return tat
end
local function is_cut_off(at, issued)
  return read_counter(at, ${SUBJECT_SLOT.cutOffEndUs + 1}) > now
    and issued <= read_counter(at, ${SUBJECT_SLOT.cutOffMs + 1})
end
local function spend_stored(subject_at, workspace_at, subject_kib, workspace_kib, kib)
  local subject = read_tat(subject_at, ${STORED}, ${STORED_WINDOW_US}) + kib * subject_kib
  local workspace = read_tat(workspace_at, ${STORED}, ${STORED_WINDOW_US}) + kib * workspace_kib
  if math.max(subject, workspace) - now > ${STORED_WINDOW_US} then return false end
  set_counter(subject_at, ${STORED}, subject)
  set_counter(workspace_at, ${STORED}, workspace)
  return true
end
local function kib_of(answer) return math.ceil(#answer / 1024) end
`;
