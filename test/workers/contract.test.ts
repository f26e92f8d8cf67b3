/** The contract over HTTP, on the built Worker in workerd, with either state. */
import { describe } from "vitest";

import { describeContract } from "../contract-suite/describe-contract.ts";
import type { Runtime } from "../contract-suite/runtime.ts";
import { startRedis } from "../support/redis-server.ts";
import { startWorker } from "../support/worker-process.ts";

const workers: Runtime = {
  start: startWorker,
  addressHeaders: (address) => ({ "CF-Connecting-IP": address }),
  tellsUnsent: false,
  skipsContinue: true,
};

describe("Workers with Durable Objects", () => {
  describeContract(workers);
});

describe("Workers with Redis", () => {
  describeContract(workers, async () => {
    const redis = await startRedis();
    return { environment: { REDIS_URL: redis.url }, stop: () => redis.kill() };
  });
});
