/** Shape of a Lua script, and the clock that all of them read. */
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
