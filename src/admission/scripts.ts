/**
 * Owns the admission rules in Lua, which Redis runs in one atomic step. `rules.ts` has the same in
 * TypeScript. Time is Redis's own, so that instances with wrong clocks still share one limit.
 *
 * Redis may come to a command late, long after the request was answered 503: `admit` and `spend`
 * carry a deadline in Redis time and do nothing past it.
 */
import {
  CLAIM_KEPT_US,
  DOUBT_KEPT_US,
  KEY_KEPT_US,
  LOCK_KEPT_US,
  LOCK_LEASE_US,
} from "./admission.ts";
import { NO_SEND } from "./records.ts";
import { NOW, RECORDS, type RedisScript } from "./script.ts";
import { settleScripts } from "./settle-scripts.ts";

// Whole microseconds are exact in Lua's doubles until the year 2255; %.0f writes them in full.
const LIMITS = `
local held = redis.call('MGET', unpack(KEYS))
local function write_tat(key, tat)
  redis.call('SET', key, string.format('%.0f', tat), 'PX', math.ceil((tat - now) / 1000))
end
`;

/** Verdicts of the admission script by number; 0: Redis came to it past its deadline. */
export const VERDICTS = [
  "late",
  "admitted",
  "limited",
  "chat_busy",
  "revoked",
  "denied",
  "replayed",
  "key_reused",
  "key_in_progress",
  "unresolved",
] as const;

/** Arguments of the admission script before those of its policies. */
const FIXED_ARGS = 9;

/**
 * KEYS: one per policy; then, with a session, its end, its subject's cut-off and everyone's; then,
 * with a chat, its owner and its tally; then, with a message, its lock and its words' doubt; then,
 * with an idempotency key, its record.
 * ARGV: deadline; when the session was issued in milliseconds (empty: no session); access to the
 * chat (empty: no chat), the subject's key, how long it stays the owner's in microseconds; token of
 * the message (empty: no message), its fingerprint, its marker, whether it has an idempotency key
 * (empty: no); then interval and tolerance of each policy.
 * Returns verdict, now, detail as `rules.ts` gives it, then one TAT per policy.
 */
export const admitScript: RedisScript = {
  name: "bffAdmit",
  lua: `${NOW}
if now > tonumber(ARGV[1]) then return {0, now, ''} end
local issued, access, me, kept = tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5]
local token, fingerprint, marker, keyed = ARGV[6], ARGV[7], ARGV[8], ARGV[9] ~= ''
local policies = (#ARGV - ${FIXED_ARGS}) / 2
${LIMITS}
${RECORDS}
local tats, limited = {}, false
for i = 1, policies do
  local interval, tolerance = ARGV[${FIXED_ARGS - 1} + 2 * i], tonumber(ARGV[${FIXED_ARGS} + 2 * i])
  tats[i] = math.min(math.max(tonumber(held[i] or 0), now), now + tolerance)
  if tats[i] + interval - now > tolerance then limited = true end
end
local function refuse(verdict, detail) return {verdict, now, detail or '', unpack(tats)} end
local function spend(verdict, detail)
  for i = 1, policies do
    tats[i] = tats[i] + ARGV[${FIXED_ARGS - 1} + 2 * i]
    write_tat(KEYS[i], tats[i])
  end
  return {verdict, now, detail, unpack(tats)}
end

local at = policies
if issued then
  if tonumber(held[at + 1] or 0) > now
    or tonumber(held[at + 2] or 0) > issued
    or tonumber(held[at + 3] or 0) > issued then return refuse(4) end
  at = at + 3
end
if access == '' then
  if limited then return refuse(2) end
  return spend(1, '')
end

local owner, tally, lock, doubt, record = held[at + 1], held[at + 2], held[at + 3], held[at + 4], held[at + 5]
local own = owner and string.sub(owner, 3) == me
local certain = owner and not starts(owner, 'c')
local claiming = access == 'first-use' or access == 'open-claiming'
local claims = claiming and (not owner or (own and not certain))
local allowed = access == 'open' or access == 'open-claiming'
  or (access == 'first-use' and (own or not owner))
  or (access == 'started' and own and starts(owner, 's'))
local known, attempt, holder, lease, before, code
if keyed and record and allowed then
  known, attempt, holder, lease, before, code = read_pending(record)
  local recorded, answer = string.match(record, '^f (%S+) (.*)$')
  if (known or recorded) ~= fingerprint then return refuse(7) end
  if recorded then return refuse(6, answer) end
end
if limited then return refuse(2) end
if not allowed then return spend(5, certain and 'owned' or 'unowned') end
local lease_us, record_us = now + ${LOCK_LEASE_US}, ${KEY_KEPT_US}
if known then
  if leased(lease) then return refuse(8) end
elseif token ~= '' and lock and leased(lease_end(lock)) then
  return refuse(3)
end
if claims then write(KEYS[at + 1], ${CLAIM_KEPT_US}, 'c', me)
elseif own and certain then write(KEYS[at + 1], kept, owner) end
if known then
  rewrite(KEYS[at + 5], record_us, 'p', known, attempt, token, whole(lease_us), before, code)
  return spend(9, (doubt == marker and before or '-') .. ' ' .. code)
end
local sends, mark, doubtful = read_tally(tally)
local claimed = claims and '1' or '0'
if token == '' then
  if mark == '*' or doubtful > now then sends, mark = ${NO_SEND}, '-' end
  return spend(1, table.concat({claimed, sends, mark, '0'}, ' '))
end
write(KEYS[at + 3], ${LOCK_KEPT_US}, token, whole(lease_us))
if mark == '*' then doubtful = now + ${DOUBT_KEPT_US} end
sends = sends + 1
write(KEYS[at + 2], kept, whole(sends), '*', whole(doubtful))
if doubt then redis.call('SET', KEYS[at + 4], '*', 'KEEPTTL')
else write(KEYS[at + 4], ${DOUBT_KEPT_US}, marker) end
if doubt or doubtful > now then mark = '-' end
if keyed then
  write(KEYS[at + 5], record_us, 'p', fingerprint, token, token, whole(lease_us), mark, '-')
end
return spend(1, table.concat({claimed, whole(sends), mark, doubt and '1' or '0'}, ' '))
`,
};

/**
 * Takes back an admission whose answer was not heard in time: the request was answered 503. Where
 * it was not heard at all, the message's token proves that it happened; without proof nothing is
 * taken back.
 * KEYS: one per policy; with a message its tally, lock and doubt; with an idempotency key its record.
 * ARGV: whether it was heard (empty: no), token (empty: no message), marker, then the interval of
 * each policy.
 */
export const withdrawScript: RedisScript = {
  name: "bffWithdraw",
  lua: `${NOW}
local heard, token, marker = ARGV[1] ~= '', ARGV[2], ARGV[3]
local policies = #ARGV - 3
${LIMITS}
${RECORDS}
local at = policies
local sent, sought = false, false
if token ~= '' then
  local known, attempt, holder, lease, before, code = read_pending(held[at + 4])
  local mine = starts(held[at + 2], token .. ' ')
  sent = mine or attempt == token
  sought = not sent and holder == token
  if sent then
    local sends, mark, doubtful = read_tally(held[at + 1])
    if mine and mark == '*' then rewrite(KEYS[at + 1], 0, whole(sends), '-', whole(doubtful)) end
    if mine then redis.call('DEL', KEYS[at + 2]) end
    if held[at + 3] == marker then redis.call('DEL', KEYS[at + 3]) end
    if attempt == token then redis.call('DEL', KEYS[at + 4]) end
  elseif sought then
    rewrite(KEYS[at + 4], ${KEY_KEPT_US}, 'p', known, attempt, holder, 0, before, code)
  end
end
if not (heard or sent or sought) then return 0 end
for i = 1, policies do
  local tat = tonumber(held[i] or 0) - ARGV[i + 3]
  if tat > now then write_tat(KEYS[i], tat) else redis.call('DEL', KEYS[i]) end
end
return now
`,
};

/**
 * KEYS: any. Runs every command that the other scripts run, so that a user of Redis who lacks the
 * right to one is found out before a message is half settled. `SET` comes first: once a script has
 * written, Redis lets it go on even without memory. Leaves the key for a second; returns now.
 */
export const probeScript: RedisScript = {
  name: "bffProbe",
  lua: `${NOW}
redis.call('SET', KEYS[1], '1', 'PX', 1000)
redis.call('MGET', KEYS[1])
redis.call('GET', KEYS[1])
redis.call('PTTL', KEYS[1])
redis.call('DEL', KEYS[1])
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
  ...settleScripts,
  revokeScript,
  cutOffScript,
  probeScript,
  clockScript,
];
