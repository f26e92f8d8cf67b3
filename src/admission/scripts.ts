/**
 * Owns the admission rules in Lua, which Redis runs in one atomic step. `rules.ts` has the same in
 * TypeScript. Time is Redis's own, so that instances with wrong clocks still share one limit.
 *
 * Redis may come to a command late, long after the request was answered 503: `admit` and `spend`
 * carry a deadline in Redis time and do nothing past it.
 */
import { LOCK_LEASE_US } from "./admission.ts";

export interface RedisScript {
  /** Unique; the name under which a client keeps the loaded script. */
  readonly name: string;
  readonly lua: string;
}

const NOW = `
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
`;

// Whole microseconds are exact in Lua's doubles until the year 2255; %.0f writes them in full.
const LIMITS = `
local held = redis.call('MGET', unpack(KEYS))
local function write_tat(key, tat)
  redis.call('SET', key, string.format('%.0f', tat), 'PX', math.ceil((tat - now) / 1000))
end
`;

/**
 * KEYS: one per policy, then the chat lock if there is one.
 * ARGV: deadline, lock token (empty: no lock), then interval and tolerance of each policy.
 * Returns verdict (0 late, 1 admitted, 2 limited, 3 chat busy), now, then one TAT per policy.
 */
export const admitScript: RedisScript = {
  name: "bffAdmit",
  lua: `${NOW}
if now > tonumber(ARGV[1]) then return {0, now} end
local token = ARGV[2]
local policies = (#ARGV - 2) / 2
local verdict = 1
local tats = {}
if #KEYS > 0 then
${LIMITS}
for i = 1, policies do
  tats[i] = math.max(tonumber(held[i] or 0), now)
  if tats[i] + ARGV[2 * i + 1] - now > tonumber(ARGV[2 * i + 2]) then verdict = 2 end
end
if verdict == 1 and token ~= '' then
  local lock = held[policies + 1]
  if lock and tonumber(string.match(lock, ' (%d+)$')) > now then verdict = 3 end
end
if verdict == 1 then
  if token ~= '' then
    local ends = string.format('%.0f', now + ${LOCK_LEASE_US})
    redis.call('SET', KEYS[policies + 1], token .. ' ' .. ends, 'PX', ${LOCK_LEASE_US / 1_000})
  end
  for i = 1, policies do
    tats[i] = tats[i] + ARGV[2 * i + 1]
    write_tat(KEYS[i], tats[i])
  end
end
end
return {verdict, now, unpack(tats)}
`,
};

/**
 * Takes back an admission whose answer came too late to be used: the request was answered 503.
 * KEYS as above; ARGV: lock token, then the interval of each policy.
 */
export const withdrawScript: RedisScript = {
  name: "bffWithdraw",
  lua: `${NOW}
local token = ARGV[1]
local policies = #ARGV - 1
${LIMITS}
for i = 1, policies do
  local tat = tonumber(held[i] or 0) - ARGV[i + 1]
  if tat > now then write_tat(KEYS[i], tat) else redis.call('DEL', KEYS[i]) end
end
local lock = held[policies + 1]
if lock and string.sub(lock, 1, #token + 1) == token .. ' ' then redis.call('DEL', KEYS[policies + 1]) end
return 1
`,
};

// An expired lock is nobody's, whether or not Redis has come to delete it.
const HOLDS_LOCK = `
local lock = redis.call('GET', KEYS[1])
if not lock or string.sub(lock, 1, #ARGV[1] + 1) ~= ARGV[1] .. ' ' then return -now end
if tonumber(string.match(lock, ' (%d+)$')) <= now then return -now end
`;

/** KEYS: the chat lock. ARGV: lock token. Frees it; returns now, negated when it is not held so. */
export const settleScript: RedisScript = {
  name: "bffSettle",
  lua: `${NOW}${HOLDS_LOCK}
redis.call('DEL', KEYS[1])
return now
`,
};

/** KEYS and ARGV as for settling. Extends it; returns now, negated when it is not held so. */
export const renewScript: RedisScript = {
  name: "bffRenew",
  lua: `${NOW}${HOLDS_LOCK}
local ends = string.format('%.0f', now + ${LOCK_LEASE_US})
redis.call('SET', KEYS[1], ARGV[1] .. ' ' .. ends, 'PX', ${LOCK_LEASE_US / 1_000})
return now
`,
};

/** Returns Redis's time in microseconds; asked once per connection to relate the two clocks. */
export const clockScript: RedisScript = { name: "bffClock", lua: `${NOW}return now` };

export const redisScripts: readonly RedisScript[] = [
  admitScript,
  withdrawScript,
  settleScript,
  renewScript,
  clockScript,
];
