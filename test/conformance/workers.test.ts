/** The contract over HTTP, on the built Worker in workerd, with either state. */
import { describe } from "vitest";

import { describeConformance } from "./describe-conformance.ts";
import type { Runtime } from "./runtime.ts";
import { startRedis } from "../support/redis-server.ts";
import { startWorker } from "../support/worker-process.ts";

const workers: Runtime = {
  start: startWorker,
  addressHeaders: (address) => ({ "CF-Connecting-IP": address }),
  tellsUnsent: false,
  skipsContinue: true,
};

describe("Workers with Durable Objects", () => {
  describeConformance(workers);
});

describe("Workers with Redis", () => {
  describeConformance(workers, async () => {
    const redis = await startRedis();
    return { environment: { REDIS_URL: redis.url }, stop: () => redis.kill() };
  });
});
