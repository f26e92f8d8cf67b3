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

/** How long a lock's key outlives its lease, in milliseconds: so long it proves who was admitted. */
const LOCK_KEPT_MS = 60_000;

/** Writes the lock of `token`; its own text says when the lease ends, the key stays as proof. */
function writeLock(key: string): string {
  return `redis.call('SET', ${key}, token .. ' ' .. string.format('%.0f', now + ${LOCK_LEASE_US}), 'PX', ${LOCK_KEPT_MS})`;
}

/**
 * KEYS: one per policy, then the chat lock if there is one, then the session's end, its subject's
 * cut-off and everyone's if there is a session.
 * ARGV: deadline, lock token (empty: no lock), when the session was issued in milliseconds (empty:
 * no session), then interval and tolerance of each policy.
 * Returns verdict (0 late, 1 admitted, 2 limited, 3 chat busy, 4 revoked), now, then one TAT per
 * policy.
 */
export const admitScript: RedisScript = {
  name: "bffAdmit",
  lua: `${NOW}
if now > tonumber(ARGV[1]) then return {0, now} end
local token, issued = ARGV[2], tonumber(ARGV[3])
local policies = (#ARGV - 3) / 2
local verdict = 1
local tats = {}
${LIMITS}
for i = 1, policies do
  tats[i] = math.min(math.max(tonumber(held[i] or 0), now), now + ARGV[2 * i + 3])
  if tats[i] + ARGV[2 * i + 2] - now > tonumber(ARGV[2 * i + 3]) then verdict = 2 end
end
if verdict == 1 and token ~= '' then
  local lock = held[policies + 1]
  if lock and tonumber(string.match(lock, ' (%d+)$')) > now then verdict = 3 end
end
if issued then
  local ended, subject, everyone = #KEYS - 2, #KEYS - 1, #KEYS
  if tonumber(held[ended] or 0) > now
    or tonumber(held[subject] or 0) > issued
    or tonumber(held[everyone] or 0) > issued then verdict = 4 end
end
if verdict == 1 then
  if token ~= '' then
    ${writeLock("KEYS[policies + 1]")}
  end
  for i = 1, policies do
    tats[i] = tats[i] + ARGV[2 * i + 2]
    write_tat(KEYS[i], tats[i])
  end
end
return {verdict, now, unpack(tats)}
`,
};

/**
 * Takes back an admission whose answer was not heard in time: the request was answered 503. The
 * lock's token proves that the admission happened; without it nothing is taken back.
 * KEYS: one per policy, then the chat lock. ARGV: lock token, then the interval of each policy.
 */
export const withdrawScript: RedisScript = {
  name: "bffWithdraw",
  lua: `${NOW}
local token = ARGV[1]
local policies = #ARGV - 1
${LIMITS}
local lock = held[policies + 1]
if not lock or string.sub(lock, 1, #token + 1) ~= token .. ' ' then return 0 end
redis.call('DEL', KEYS[policies + 1])
for i = 1, policies do
  local tat = tonumber(held[i] or 0) - ARGV[i + 1]
  if tat > now then write_tat(KEYS[i], tat) else redis.call('DEL', KEYS[i]) end
end
return now
`,
};

/**
 * KEYS: the chat lock. ARGV: lock token. Frees it; returns now, negated when it is not held so: an
 * expired lock is nobody's, whether or not Redis has come to delete it.
 */
export const settleScript: RedisScript = {
  name: "bffSettle",
  lua: `${NOW}
local lock = redis.call('GET', KEYS[1])
if not lock or string.sub(lock, 1, #ARGV[1] + 1) ~= ARGV[1] .. ' ' then return -now end
redis.call('DEL', KEYS[1])
if tonumber(string.match(lock, ' (%d+)$')) <= now then return -now end
return now
`,
};

/**
 * KEYS: the chat lock. ARGV: deadline, lock token. Extends it, and takes it anew where Redis has
 * lost it. Returns a verdict as an admission does (3: somebody else holds it), and now.
 */
export const renewScript: RedisScript = {
  name: "bffRenew",
  lua: `${NOW}
if now > tonumber(ARGV[1]) then return {0, now} end
local token = ARGV[2]
local lock = redis.call('GET', KEYS[1])
if lock and string.sub(lock, 1, #token + 1) ~= token .. ' '
  and tonumber(string.match(lock, ' (%d+)$')) > now then return {3, now} end
${writeLock("KEYS[1]")}
return {1, now}
`,
};

/** KEYS: any. Writes for a second, as an admission would have to; returns now. */
export const probeScript: RedisScript = {
  name: "bffProbe",
  lua: `${NOW}
redis.call('SET', KEYS[1], '1', 'PX', 1000)
return now
`,
};

/** KEYS: a session's end. ARGV: for how long, in milliseconds. Never shortens an earlier one. */
export const revokeScript: RedisScript = {
  name: "bffRevoke",
  lua: `${NOW}
local ends = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now + ARGV[1] * 1000)
redis.call('SET', KEYS[1], string.format('%.0f', ends), 'PX', math.ceil((ends - now) / 1000))
return now
`,
};

/** KEYS: a cut-off. ARGV: for how long, in milliseconds. Never undoes an earlier one. */
export const cutOffScript: RedisScript = {
  name: "bffCutOff",
  lua: `${NOW}
local before = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), math.floor(now / 1000))
local kept = math.max(redis.call('PTTL', KEYS[1]), tonumber(ARGV[1]))
redis.call('SET', KEYS[1], string.format('%.0f', before), 'PX', kept)
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
  revokeScript,
  cutOffScript,
  probeScript,
  clockScript,
];
