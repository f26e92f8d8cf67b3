/** `rediss://` on Node: encryption, a verified certificate, and a private CA. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { Redis } from "ioredis";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";

import type { RunningEmulator } from "../../src/emulator/listen.ts";
import { readCode, sendMessage, startTestBff, startTestEmulator } from "../support/bff-fixture.ts";
import type { BffProcess } from "../support/bff-process.ts";
import { findFreePort } from "../support/ports.ts";
import { type RedisServer, startRedis, toArguments } from "../support/redis-server.ts";

const folder = mkdtempSync(join(tmpdir(), "bff-tls-"));
const file = (name: string) => join(folder, name);
const running: BffProcess[] = [];
const servers: RedisServer[] = [];
let emulator: RunningEmulator;
function openssl(...args: string[]): void {
  execFileSync("openssl", args, { cwd: folder, stdio: "ignore" });
}

/** A certificate for 127.0.0.1, not for the name localhost. */
const CERTIFICATE = {
  "tls-cert-file": file("server.crt"),
  "tls-key-file": file("server.key"),
  "tls-ca-cert-file": file("ca.crt"),
  "tls-auth-clients": "no",
};

beforeAll(async () => {
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  openssl(
    "req",
    "-x509",
    ...key,
    "-keyout",
    "ca.key",
    "-out",
    "ca.crt",
    "-subj",
    "/CN=our own CA",
    "-days",
    "2",
  );
  openssl("req", ...key, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=redis");
  writeFileSync(file("names"), "subjectAltName=IP:127.0.0.1");
  openssl(
    "x509",
    "-req",
    "-in",
    "server.csr",
    "-CA",
    "ca.crt",
    "-CAkey",
    "ca.key",
    "-CAcreateserial",
    "-out",
    "server.crt",
    "-extfile",
    "names",
    "-days",
    "2",
  );
  emulator = await startTestEmulator();
});
afterEach(async () => {
  await Promise.all(running.splice(0).map((bff) => bff.stop()));
  await Promise.all(servers.splice(0).map((server) => server.kill()));
});
afterAll(async () => {
  await emulator.close();
  rmSync(folder, { recursive: true, force: true });
});

async function start(url: string, more: Record<string, string> = {}): Promise<BffProcess> {
  const bff = await startTestBff(emulator.url, { REDIS_URL: url, ...more });
  running.push(bff);
  return bff;
}

/**
 * Starts a Redis that speaks TLS on the returned port, and plain TCP on another port for the test.
 */
async function startTlsRedis(settings: Record<string, string | number> = {}): Promise<number> {
  const port = await findFreePort();
  servers.push(await startRedis(toArguments({ ...CERTIFICATE, "tls-port": port, ...settings })));
  return port;
}

const OWN_CA = { NODE_EXTRA_CA_CERTS: file("ca.crt") };

test("a certificate of an authority in NODE_EXTRA_CA_CERTS is trusted", async () => {
  const bff = await start(`rediss://127.0.0.1:${await startTlsRedis()}`, OWN_CA);
  expect((await sendMessage(bff.url, "hi")).status).toBe(201);
});

test.each([
  ["of an unknown authority", "127.0.0.1", {}, "SELF_SIGNED_CERT_IN_CHAIN"],
  ["for another name", "localhost", OWN_CA, "ERR_TLS_CERT_ALTNAME_INVALID"],
])("a certificate %s is refused, and named in the log", async (_what, host, more, reason) => {
  const bff = await start(`rediss://:canary-password@${host}:${await startTlsRedis()}`, more);
  expect(await readCode(await sendMessage(bff.url, "hi"))).toBe("state_unavailable");
  expect(
    await bff.waitForLine(
      ({ msg }) => msg === "state is unreachable: requests get 503 until it is back",
    ),
  ).toMatchObject({
    reason,
  });
});

test("every node of a Cluster is spoken to in TLS", async () => {
  const port = await startTlsRedis({
    "cluster-enabled": "yes",
    "cluster-port": await findFreePort(),
    "cluster-config-file": file("nodes.conf"),
    "tls-cluster": "yes",
    "cluster-announce-ip": "127.0.0.1",
  });
  const admin = new Redis(servers[0]?.port ?? 0);
  await admin.call("CLUSTER", "ADDSLOTSRANGE", 0, 16_383);
  admin.disconnect();
  const bff = await start(`rediss+cluster://127.0.0.1:${port}`, OWN_CA);
  await expect
    .poll(async () => (await sendMessage(bff.url, "hi")).status, { timeout: 10_000 })
    .toBe(201);
});

test("Sentinels and the primary they name are spoken to in TLS", async () => {
  const port = await startTlsRedis();
  const sentinelPort = await findFreePort();
  const config = file("sentinel.conf");
  const settings = {
    ...CERTIFICATE,
    "tls-port": sentinelPort,
    "tls-replication": "yes",
    dir: folder,
  };
  const lines = Object.entries(settings).map(([name, value]) => `${name} ${value}`);
  writeFileSync(config, [...lines, `sentinel monitor main 127.0.0.1 ${port} 1`, ""].join("\n"));
  servers.push(await startRedis(["--sentinel"], config));
  const bff = await start(`rediss+sentinel://127.0.0.1:${sentinelPort}/main`, OWN_CA);
  expect((await sendMessage(bff.url, "hi")).status).toBe(201);
});
