/**
 * Health check of the container image, which has no shell and no curl. The exit code is 0 when the
 * service in the same container answers `/healthz` with 200, otherwise 1.
 */
import { Agent, get } from "node:http";

import { readConfig } from "./read-config.ts";

/**
 * In milliseconds. Less than the time-out of the container's health check, which would kill this.
 */
const TIMEOUT_MS = 3_000;

/** Loopback address to use for a listener on all addresses of a family. */
const LOOPBACK: ReadonlyMap<string, string> = new Map([
  ["0.0.0.0", "127.0.0.1"],
  ["::", "::1"],
]);

function isHealthy(): Promise<boolean> {
  const { config } = readConfig();
  if (config === undefined) return Promise.resolve(false);
  const { host, port } = config.listen;
  const path = `${config.routePrefix}/healthz`;
  const signal = AbortSignal.timeout(TIMEOUT_MS);
  // Not `fetch`, because a URL cannot hold the zone of an IPv6 address. The request has its own
  // agent, because the global one uses the proxy of the environment where NODE_USE_ENV_PROXY is
  // set, and a proxy cannot reach the loopback address of this container.
  const target = { host: LOOPBACK.get(host) ?? host, port, path, agent: new Agent() };
  return new Promise((resolve) => {
    const request = get({ ...target, signal }, (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    });
    request.on("error", () => resolve(false));
  });
}

process.exit((await isHealthy()) ? 0 : 1);
