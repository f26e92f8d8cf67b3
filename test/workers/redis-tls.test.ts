/** `rediss://` on Workers: encryption by the platform's sockets, and a verified certificate. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { afterAll, afterEach, beforeAll, expect, test } from "vitest";

import { readCode, startFixture } from "../conformance/runtime.ts";
import { findFreePort } from "../support/ports.ts";
import { startRedis, toArguments } from "../support/redis-server.ts";
import { startWorker } from "../support/worker-process.ts";

const folder = mkdtempSync(join(tmpdir(), "bff-worker-tls-"));
const file = (name: string) => join(folder, name);
const ends: (() => unknown)[] = [];

beforeAll(() => {
  // A self-signed certificate for the name localhost, not for 127.0.0.1.
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  const names = ["-subj", "/CN=redis", "-addext", "subjectAltName=DNS:localhost"];
  const files = ["-keyout", "server.key", "-out", "server.crt", "-days", "2"];
  const args = ["req", "-x509", ...key, ...names, ...files];
  execFileSync("openssl", args, { cwd: folder, stdio: "ignore" });
});
afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end();
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Starts a Worker whose Redis has that name, speaks TLS and requires a password. */
async function start(host: string, authority?: string) {
  const port = await findFreePort();
  const settings = {
    "tls-port": port,
    "tls-cert-file": file("server.crt"),
    "tls-key-file": file("server.key"),
    "tls-auth-clients": "no",
    requirepass: "canary-password",
  };
  const redis = await startRedis(toArguments(settings));
  ends.push(() => redis.kill());
  const worker = {
    start: (environment: Record<string, string>) => startWorker(environment, authority),
    addressHeaders: (address: string) => ({ "CF-Connecting-IP": address }),
    tellsUnsent: false,
    skipsContinue: true,
  };
  const REDIS_URL = `rediss://:canary-password@${host}:${port}`;
  const fixture = await startFixture(worker, { REDIS_URL });
  ends.push(() => fixture.stop());
  return fixture;
}

test("a Redis with a trusted certificate is spoken to in TLS", async () => {
  const { send, ask } = await start("localhost", file("server.crt"));
  expect((await ask("/readyz")).status).toBe(200);
  expect((await send()).status).toBe(201);
});

test.each([
  ["of an unknown authority", "localhost", undefined],
  ["for another name", "127.0.0.1", file("server.crt")],
])("a certificate %s is refused, within the time limit", async (_what, host, authority) => {
  const { send, service } = await start(host, authority);
  const startedMs = performance.now();
  expect(await readCode(await send())).toBe("state_unavailable");
  expect(performance.now() - startedMs).toBeLessThan(2_000);
  await expect
    .poll(() => service.lines().filter((line) => line.includes("state is unreachable")))
    .toHaveLength(1);
});
