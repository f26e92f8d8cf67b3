/**
 * Health check of a container, which has no shell and no curl: exit code 0 when the service beside it
 * answers `/healthz`, 1 when it does not.
 */
import { Agent, get } from "node:http";

import { readConfig } from "./read-config.ts";

/** Less than a container's own time-out, so that the exit code is ours. */
const TIMEOUT_MS = 3_000;

/** Addresses that mean all of a machine's, and cannot be connected to everywhere. */
const ANY_ADDRESS: ReadonlySet<string> = new Set(["0.0.0.0", "::", ""]);

async function isHealthy(): Promise<boolean> {
  const { config } = readConfig();
  if (config === undefined) return false;
  const { host, port } = config.listen;
  const target = ANY_ADDRESS.has(host) ? "127.0.0.1" : host.includes(":") ? `[${host}]` : host;
  return new Promise((resolve) => {
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    // An agent of its own: the global one and `fetch` take the proxy of the environment where
    // NODE_USE_ENV_PROXY is set, and a proxy does not reach this container's own address.
    const options = { agent: new Agent(), signal };
    get(`http://${target}:${port}/healthz`, options, (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    }).on("error", () => resolve(false));
  });
}

process.exit((await isHealthy()) ? 0 : 1);
