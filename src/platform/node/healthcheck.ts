/**
 * Owns the health check of a container, which has no shell and no curl: exit code 0 when the service
 * beside it answers `/healthz`, 1 when it does not.
 */
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
  try {
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    const response = await fetch(`http://${target}:${port}/healthz`, { signal });
    return response.status === 200;
  } catch {
    return false;
  }
}

process.exit((await isHealthy()) ? 0 : 1);
