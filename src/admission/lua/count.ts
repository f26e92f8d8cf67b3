/** Counting a wrong credential, in Lua; `rules/admit.ts` has the same rules. */
import { COUNTER_RULES } from "./counter-rules.ts";
import { IMPORT } from "./import.ts";
import { RECORDS } from "./records.ts";
import { NOW, type RedisScript } from "./script.ts";

/**
 * KEYS: the address's record. ARGV: deadline, slot, interval, tolerance. Returns 0 late, 1 counted or
 * 2 limited, now, and the TAT.
 */
export const countScript: RedisScript = {
  name: "bffCount",
  lua: `${NOW}
if now > tonumber(ARGV[1]) then return {0, now, 0} end
${RECORDS}
${IMPORT}
${COUNTER_RULES}
local slot, interval, tolerance = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local tat = read_tat(1, slot, tolerance)
if tat + interval - now > tolerance then
  save_counters()
  return {2, now, tat}
end
set_counter(1, slot, tat + interval)
save_counters()
return {1, now, tat + interval}
`,
};
