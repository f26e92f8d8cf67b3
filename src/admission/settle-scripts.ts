/**
 * Owns what happens after admission, in Lua: settling, renewing, owning. `settle-rules.ts` has the
 * same in TypeScript.
 */
import { DOUBT_KEPT_US, KEY_KEPT_US, LOCK_KEPT_US, LOCK_LEASE_US } from "./admission.ts";
import { NOW, RECORDS, type RedisScript } from "./script.ts";

/** Results of the settling script by number. */
export const SETTLED = ["", "settled", "lost", "contested"] as const;

/**
 * Settles the one who sent a message.
 * KEYS: owner, tally, lock, doubt, then the idempotency key's record if there is one.
 * ARGV: token; marker; fingerprint; fate; how many messages had been let in; how long a chat stays
 * its owner's in microseconds; how the transcript stands now (`-` unknown); how it stood before; the
 * owner's text to release (empty: none); the answer, or the code of an unknown outcome.
 * Returns result, now.
 */
export const settleScript: RedisScript = {
  name: "bffSettle",
  lua: `${NOW}
${RECORDS}
local token, marker, fingerprint, fate, sent = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local kept, after, before, release, payload = ARGV[6], ARGV[7], ARGV[8], ARGV[9], ARGV[10]
local held = redis.call('MGET', unpack(KEYS))
if release ~= '' and held[1] == release then redis.call('DEL', KEYS[1]) end
local lock = held[3]
local mine = starts(lock, token .. ' ')
local sole = held[4] == marker
local contested = fate == 'recovered' and not (mine and sole)
if contested then fate = 'unknown' end
if fate ~= 'unknown' and sole then redis.call('DEL', KEYS[4]) end
if mine then redis.call('DEL', KEYS[3]) end

local clear = mine and fate ~= 'unknown'
local sends, mark, doubtful = read_tally(held[2])
if not (sends > sent and mark == '*') then mark = '-' end
if clear and sends == sent and doubtful <= now then mark = after end
if not clear then doubtful = now + ${DOUBT_KEPT_US} end
write(KEYS[2], kept, whole(math.max(sends, sent)), mark, whole(doubtful))

local known, attempt, holder, lease, stood, code = read_pending(held[5])
if attempt == token then
  if fate == 'not_taken' then
    redis.call('DEL', KEYS[5])
  elseif fate ~= 'unknown' then
    write(KEYS[5], ${KEY_KEPT_US}, 'f', fingerprint, payload)
  elseif holder == token then
    if not contested then
      code = payload
      if before ~= '-' then stood = before end
    end
    write(KEYS[5], ${KEY_KEPT_US}, 'p', known, attempt, holder, 0, stood, code)
  end
end
if contested then return {3, now} end
return {mine and lease_end(lock) > now and 1 or 2, now}
`,
};

/**
 * Settles the one who looked for the answer to a message sent before.
 * KEYS: doubt, the idempotency key's record. ARGV: token, marker, fingerprint, fate, the answer.
 * Returns result, now.
 */
export const settleSeekingScript: RedisScript = {
  name: "bffSettleSeeking",
  lua: `${NOW}
${RECORDS}
local token, marker, fingerprint, fate, answer = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local held = redis.call('MGET', unpack(KEYS))
local known, attempt, holder, lease, stood, code = read_pending(held[2])
if holder ~= token then return {3, now} end
if fate == 'recovered' and held[1] == marker then
  redis.call('DEL', KEYS[1])
  write(KEYS[2], ${KEY_KEPT_US}, 'f', fingerprint, answer)
  return {1, now}
end
write(KEYS[2], ${KEY_KEPT_US}, 'p', known, attempt, holder, 0, stood, code)
return {fate == 'recovered' and 3 or 1, now}
`,
};

/**
 * Settles one who only read.
 * KEYS: owner, tally. ARGV: how many messages had been let in, how the transcript stands (`-`
 * unknown), how long a chat stays its owner's in microseconds, the owner's text to release (empty:
 * none). Returns result, now.
 */
export const settleReadingScript: RedisScript = {
  name: "bffSettleReading",
  lua: `${NOW}
${RECORDS}
local sent, mark, kept, release = tonumber(ARGV[1]), ARGV[2], ARGV[3], ARGV[4]
local held = redis.call('MGET', unpack(KEYS))
if release ~= '' and held[1] == release then redis.call('DEL', KEYS[1]) end
local sends, was, doubtful = read_tally(held[2])
if mark ~= '-' and sends == sent and was ~= '*' then
  write(KEYS[2], kept, whole(sends), mark, whole(doubtful))
end
return {1, now}
`,
};

/**
 * Extends a lease, and takes the chat anew where Redis has lost its lock.
 * KEYS: the lock if a message is being sent, then the idempotency key's record if there is one.
 * ARGV: deadline, token, whether a message is being sent (empty: no), how the transcript stood
 * before it (`-` unknown or known before).
 * Returns 0 late, 1 renewed or 2 lost, and now.
 */
export const renewScript: RedisScript = {
  name: "bffRenew",
  lua: `${NOW}
if now > tonumber(ARGV[1]) then return {0, now} end
${RECORDS}
local token, sending, before = ARGV[2], ARGV[3] ~= '', ARGV[4]
local record_key = KEYS[sending and 2 or 1]
local ends = whole(now + ${LOCK_LEASE_US})
local holds = false
if record_key then
  local known, attempt, holder, lease, stood, code = read_pending(redis.call('GET', record_key) or '')
  holds = holder == token
  if holds then
    if before ~= '-' then stood = before end
    write(record_key, ${KEY_KEPT_US}, 'p', known, attempt, holder, ends, stood, code)
  end
end
if not sending then return {holds and 1 or 2, now} end
local lock = redis.call('GET', KEYS[1])
if lock and not starts(lock, token .. ' ') and lease_end(lock) > now then return {2, now} end
write(KEYS[1], ${LOCK_KEPT_US}, token, ends)
return {1, now}
`,
};

/**
 * Writes down who started a chat.
 * KEYS: owner, tally. ARGV: the subject's key, how long a chat stays its owner's in microseconds, how
 * the transcript stands (`-` unknown).
 * Returns 1 owned or 2 refused, and now.
 */
export const ownScript: RedisScript = {
  name: "bffOwn",
  lua: `${NOW}
${RECORDS}
local me, kept, mark = ARGV[1], ARGV[2], ARGV[3]
local held = redis.call('MGET', unpack(KEYS))
if held[1] and string.sub(held[1], 3) ~= me then return {2, now} end
write(KEYS[1], kept, 's', me)
if mark ~= '-' and not held[2] then write(KEYS[2], kept, 0, mark, 0) end
return {1, now}
`,
};

export const settleScripts: readonly RedisScript[] = [
  settleScript,
  settleSeekingScript,
  settleReadingScript,
  renewScript,
  ownScript,
];
