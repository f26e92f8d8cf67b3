/** Ending sessions and asking whether one was ended, in Lua; `rules/admit.ts` has the same rules. */
import { SUBJECT_SLOT } from "../records.ts";
import { COUNTER_RULES } from "./counter-rules.ts";
import { IMPORT } from "./import.ts";
import { RECORDS } from "./records.ts";
import { NOW, type RedisScript } from "./script.ts";

/**
 * KEYS: the session's end, its subject's record, its workspace's. ARGV: deadline, when the session was
 * issued in milliseconds. Returns 0 late, 1 valid or 2 revoked, and now.
 */
export const checkScript: RedisScript = {
  name: "bffCheck",
  lua: `${NOW}
if now > tonumber(ARGV[1]) then return {0, now} end
${RECORDS}
${IMPORT}
${COUNTER_RULES}
local issued = tonumber(ARGV[2])
local ended = tonumber(redis.call('GET', KEYS[1]) or 0) > now
return {(ended or is_cut_off(2, issued) or is_cut_off(3, issued)) and 2 or 1, now}
`,
};

/**
 * KEYS: a session's end. ARGV: deadline, for how long it has to last in milliseconds. Returns 0 late,
 * 1 ended for so long or 2 not, and now.
 */
export const endedScript: RedisScript = {
  name: "bffEnded",
  lua: `${NOW}
if now > tonumber(ARGV[1]) then return {0, now} end
return {tonumber(redis.call('GET', KEYS[1]) or 0) >= now + ARGV[2] * 1000 and 1 or 2, now}
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

/**
 * KEYS: a subject's record or a workspace's. ARGV: for how long and how far ahead of now, in
 * milliseconds. Never undoes an earlier order, or shortens it. Returns now.
 */
export const cutOffScript: RedisScript = {
  name: "bffCutOff",
  lua: `${NOW}
${RECORDS}
${IMPORT}
${COUNTER_RULES}
local function raise(slot, value) set_counter(1, slot, math.max(read_counter(1, slot), value)) end
raise(${SUBJECT_SLOT.cutOffMs + 1}, math.floor(now / 1000) + ARGV[2])
raise(${SUBJECT_SLOT.cutOffEndUs + 1}, now + ARGV[1] * 1000)
save_counters()
return now
`,
};
