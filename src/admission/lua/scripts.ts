/** All Lua scripts, for clients that load them; and those that only ask Redis about itself. */
import { admitScript } from "./admit.ts";
import { countScript } from "./count.ts";
import { ownScript } from "./own.ts";
import { renewScript } from "./renew.ts";
import { NOW, type RedisScript } from "./script.ts";
import { checkScript, cutOffScript, endedScript, revokeScript } from "./sessions.ts";
import { settleReaderScript } from "./settle-reader.ts";
import { settleRecovererScript } from "./settle-recoverer.ts";
import { settleSenderScript } from "./settle-sender.ts";
import { withdrawScript } from "./withdraw.ts";

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

/** Returns Redis's time in microseconds; asked once per connection to relate the two clocks. */
export const clockScript: RedisScript = { name: "bffClock", lua: `${NOW}return now` };

export const redisScripts: readonly RedisScript[] = [
  admitScript,
  withdrawScript,
  settleSenderScript,
  settleRecovererScript,
  settleReaderScript,
  renewScript,
  ownScript,
  checkScript,
  endedScript,
  revokeScript,
  cutOffScript,
  countScript,
  probeScript,
  clockScript,
];
