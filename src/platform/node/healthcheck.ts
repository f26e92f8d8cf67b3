/**
 * The health check of a container, which has no shell and no curl: exit code 0 when the service
 * beside it answers `/healthz`, 1 when it does not.
 */
import { Agent, get } from "node:http";

import { readConfig } from "./read-config.ts";

/** Less than a container's own time-out, so that the exit code is ours. */
const TIMEOUT_MS = 3_000;

/** Addresses that stand for all of a machine's, and one of those by which it reaches itself. */
const LOOPBACK: ReadonlyMap<string, string> = new Map([
  ["0.0.0.0", "127.0.0.1"],
  ["::", "::1"],
]);

function isHealthy(): Promise<boolean> {
  const { config } = readConfig();
  if (config === undefined) return Promise.resolve(false);
  const { host, port } = config.listen;
  const signal = AbortSignal.timeout(TIMEOUT_MS);
  // Not `fetch`: a URL has no place for the zone of an IPv6 address. And an agent of its own, since
  // the global one takes the proxy of the environment where NODE_USE_ENV_PROXY is set, and a proxy
  // does not reach this container's own address.
  const target = { host: LOOPBACK.get(host) ?? host, port, path: "/healthz", agent: new Agent() };
  return new Promise((resolve) => {
    const request = get({ ...target, signal }, (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    });
    request.on("error", () => resolve(false));
  });
}

process.exit((await isHealthy()) ? 0 : 1);
