/** Owns timing the round trips to Redis, around whatever makes them. */
import type { RedisConnection } from "../../admission/redis-state.ts";
import type { Clock } from "../../clock.ts";
import type { Metrics } from "../../metrics.ts";

export function timeRedis(
  connection: RedisConnection,
  clock: Clock,
  metrics: Metrics,
): RedisConnection {
  return {
    onReady: (listener) => connection.onReady(listener),
    async run(script, keys, args) {
      const startedMs = clock.monotonicMs();
      try {
        return await connection.run(script, keys, args);
      } finally {
        // Failures too: how long a dead Redis was waited for is what one looks for first.
        metrics.countStateTrip(script.name, clock.monotonicMs() - startedMs);
      }
    },
  };
}
