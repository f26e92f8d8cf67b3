/**
 * Owns what happens after admission, in Lua: settling, renewing, owning. `settle-rules.ts` has the
 * same in TypeScript.
 */
import { DOUBT_KEPT_US, KEY_KEPT_US, LOCK_KEPT_US, LOCK_LEASE_US } from "./admission.ts";
import { NOW, RECORDS, type RedisScript } from "./script.ts";

/** Results of the settling scripts by number. */
export const SETTLED = ["", "settled", "lost", "contested"] as const;

/** Confirms a claim, or gives it up. `claim`: `s` by a stamp, `f` by first use, empty: given up. */
const CLAIM = `
local function settle_claim(key, owner, me, kept, claim)
  local claimed = owner == 'c ' .. me
  if claim == 's' then
    if not starts(owner, 's') then write(key, kept, 's', me) end
  elseif claim == 'f' then
    if claimed or not owner then write(key, kept, 'f', me) end
  elseif claimed then
    redis.call('DEL', key)
  end
end
`;

/**
 * Settles the one who sent a message.
 * KEYS: owner, tally, lock, doubt, then the idempotency key's record if there is one.
 * ARGV: token; marker; fingerprint; fate; how many messages had been let in; how long a chat stays
 * its owner's in microseconds; the subject's key; what becomes of its claim; how the transcript
 * stands now (`-` unknown); how it stood before; whether the chat does not exist (empty: it may); the
 * answer, or the code of an unknown outcome.
 * Returns result, now.
 */
export const settleScript: RedisScript = {
  name: "bffSettle",
  lua: `${NOW}
${RECORDS}
${CLAIM}
local token, marker, fingerprint, fate, sent = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local kept, me, claim, after, before = ARGV[6], ARGV[7], ARGV[8], ARGV[9], ARGV[10]
local absent, payload = ARGV[11] ~= '', ARGV[12]
local held = redis.call('MGET', unpack(KEYS))
settle_claim(KEYS[1], held[1], me, kept, claim)
local lock = held[3]
local mine = starts(lock, token .. ' ')
local sole = held[4] == marker
local contested = fate == 'recovered' and not (mine and sole)
if contested then fate = 'unknown' end
if fate ~= 'unknown' and sole then redis.call('DEL', KEYS[4]) end
if mine then redis.call('DEL', KEYS[3]) end

local clear = mine and fate ~= 'unknown'
local sends, mark, doubtful = read_tally(held[2])
local again = fate ~= 'unknown' and not mine and sends == sent and mark ~= '*'
if absent and (not held[2] or (clear and sends == 1)) then
  redis.call('DEL', KEYS[2])
else
  if not (sends > sent and mark == '*') then mark = '-' end
  if clear and sends == sent and doubtful <= now then mark = after end
  if not (clear or again) then doubtful = now + ${DOUBT_KEPT_US} end
  write(KEYS[2], kept, whole(math.max(sends, sent)), mark, whole(doubtful))
end

local known, attempt, holder, lease, stood, code = read_pending(held[5])
if KEYS[5] and not held[5] then
  known, attempt, holder, stood, code = fingerprint, token, token, '-', '-'
end
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
    rewrite(KEYS[5], ${KEY_KEPT_US}, 'p', known, attempt, holder, 0, stood, code)
  end
end
if contested then return {3, now} end
return {mine and leased(lease_end(lock)) and 1 or 2, now}
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
rewrite(KEYS[2], ${KEY_KEPT_US}, 'p', known, attempt, holder, 0, stood, code)
return {fate == 'recovered' and 3 or 1, now}
`,
};

/**
 * Settles one who only read.
 * KEYS: owner, tally. ARGV: how many messages had been let in, how the transcript stands (`-`
 * unknown), how long a chat stays its owner's in microseconds, the subject's key, what becomes of its
 * claim. Returns result, now.
 */
export const settleReadingScript: RedisScript = {
  name: "bffSettleReading",
  lua: `${NOW}
${RECORDS}
${CLAIM}
local sent, mark, kept, me, claim = tonumber(ARGV[1]), ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local held = redis.call('MGET', unpack(KEYS))
local sends, was, doubtful = read_tally(held[2])
if claim ~= '' or was ~= '*' then settle_claim(KEYS[1], held[1], me, kept, claim) end
if mark ~= '-' and sends == sent and was ~= '*' then
  write(KEYS[2], kept, whole(sends), mark, whole(doubtful))
end
return {1, now}
`,
};

/**
 * Extends a lease, and takes the chat anew where Redis has lost its lock.
 * KEYS: the lock if a message is being sent, then the idempotency key's record if there is one.
 * ARGV: deadline, token, whether a message is being sent (empty: no), its fingerprint, how the
 * transcript stood before it (`-` unknown or known before).
 * Returns 0 late, 1 renewed or 2 lost, and now.
 */
export const renewScript: RedisScript = {
  name: "bffRenew",
  lua: `${NOW}
if now > tonumber(ARGV[1]) then return {0, now} end
${RECORDS}
local token, sending, fingerprint, before = ARGV[2], ARGV[3] ~= '', ARGV[4], ARGV[5]
local record_key = KEYS[sending and 2 or 1]
local ends = whole(now + ${LOCK_LEASE_US})
local holds = false
if record_key then
  local record = redis.call('GET', record_key)
  local known, attempt, holder, lease, stood, code = read_pending(record)
  if sending and not record then
    known, attempt, holder, stood, code = fingerprint, token, token, '-', '-'
  end
  holds = holder == token
  if holds then
    if before ~= '-' then stood = before end
    rewrite(record_key, ${KEY_KEPT_US}, 'p', known, attempt, holder, ends, stood, code)
  end
end
if not sending then return {holds and 1 or 2, now} end
local lock = redis.call('GET', KEYS[1])
if lock and not starts(lock, token .. ' ') and leased(lease_end(lock)) then return {2, now} end
write(KEYS[1], ${LOCK_KEPT_US}, token, ends)
return {1, now}
`,
};

/**
 * Writes down who started a chat, whoever claims it.
 * KEYS: owner, tally. ARGV: the subject's key, how long a chat stays its owner's in microseconds, how
 * the transcript stands (`-` unknown), whether the chat bears its stamp (empty: no).
 * Returns 1 owned or 2 refused, and now.
 */
export const ownScript: RedisScript = {
  name: "bffOwn",
  lua: `${NOW}
${RECORDS}
local me, kept, mark, stamped = ARGV[1], ARGV[2], ARGV[3], ARGV[4] ~= ''
local held = redis.call('MGET', unpack(KEYS))
local owner = held[1]
local foreign = owner and string.sub(owner, 3) ~= me
if foreign and (starts(owner, 's') or (starts(owner, 'f') and not stamped)) then return {2, now} end
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
