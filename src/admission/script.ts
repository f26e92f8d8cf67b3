/** Owns what all Lua scripts have in common: their shape, their clock, the texts they keep. */
import { LOCK_LEASE_US } from "./admission.ts";

export interface RedisScript {
  /** Unique; the name under which a client keeps the loaded script. */
  readonly name: string;
  readonly lua: string;
}

/** Redis's own time in microseconds, so that instances with wrong clocks still share one limit. */
export const NOW = `
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
`;

/** What the scripts share: the texts of `records.ts`, written and read. Comes after `NOW`. */
export const RECORDS = `
local function write(key, us, ...)
  redis.call('SET', key, table.concat({...}, ' '), 'PX', math.ceil(us / 1000))
end
local function whole(number) return string.format('%.0f', number) end
local function rewrite(key, us, ...)
  local text = table.concat({...}, ' ')
  if redis.call('SET', key, text, 'XX', 'KEEPTTL') then return end
  redis.call('SET', key, text, 'PX', math.ceil(us / 1000))
end
local function leased(ends)
  ends = tonumber(ends)
  return ends > now and ends <= now + ${2 * LOCK_LEASE_US}
end
local function starts(text, with) return text and string.sub(text, 1, #with) == with end
local function lease_end(lock) return tonumber(string.match(lock, ' (%d+)$')) end
local function read_tally(text)
  local sends, mark, doubtful = string.match(text or '', '^(%d+) (%S+) (%d+)$')
  return tonumber(sends or 0), mark or '-', tonumber(doubtful or 0)
end
local function read_pending(text)
  return string.match(text or '', '^p (%S+) (%S+) (%S+) (%d+) (%S+) (%S+)$')
end
`;
