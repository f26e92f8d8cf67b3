/** The contract over HTTP, on the built service for Node. */
import { describe } from "vitest";

import { describeConformance } from "./describe-conformance.ts";
import type { Runtime } from "./runtime.ts";
import { startBff } from "../support/bff-process.ts";
import { startRedis } from "../support/redis-server.ts";

const node: Runtime = {
  start: async (environment) => {
    const bff = await startBff({ TRUST_PROXY: "1", ...environment });
    return { url: bff.url, lines: () => bff.lines, stop: () => bff.stop() };
  },
  addressHeaders: (address) => ({ "X-Forwarded-For": address }),
  tellsUnsent: true,
  skipsContinue: false,
};

describe("Node with its own memory", () => {
  describeConformance(node);
});

describe("Node with Redis", () => {
  describeConformance(node, async () => {
    const redis = await startRedis();
    return { environment: { REDIS_URL: redis.url }, stop: () => redis.kill() };
  });
});
