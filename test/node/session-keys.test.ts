/** Sessions signed with public keys and with keys of an issuer's JWKS, over real sockets. */
import { createServer, type Server } from "node:http";

import { exportJWK, exportSPKI, generateKeyPair, SignJWT } from "jose";
import { afterAll, beforeAll, expect, test } from "vitest";

import type { RunningEmulator } from "../../src/emulator/listen.ts";
import { bffEnvironment, CHAT, readCode, startTestEmulator } from "../support/bff-fixture.ts";
import { type BffProcess, startBff } from "../support/bff-process.ts";
import { findFreePort } from "../support/ports.ts";
import { AUDIENCE, ISSUER } from "../support/session-tokens.ts";

let emulator: RunningEmulator;

beforeAll(async () => {
  emulator = await startTestEmulator();
});
afterAll(() => emulator.close());

type Signer = Awaited<ReturnType<typeof generateKeyPair>>["privateKey"];

async function start(keys: Record<string, string>): Promise<BffProcess> {
  const { SESSION_SECRET: _replaced, ...rest } = bffEnvironment(emulator.url);
  return startBff({ ...rest, ...keys });
}

function sign(key: Signer, kid?: string): Promise<string> {
  return new SignJWT({})
    .setProtectedHeader(kid === undefined ? { alg: "ES256" } : { alg: "ES256", kid })
    .setIssuer(ISSUER)
    .setAudience(AUDIENCE)
    .setSubject("alice")
    .setExpirationTime("1h")
    .sign(key);
}

function send(url: string, token: string): Promise<Response> {
  return fetch(`${url}/chat/${CHAT}/send`, {
    method: "POST",
    headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" },
    body: '{"content":"hi"}',
  });
}

test("a session signed for the configured PEM is served, one signed by another key is not", async () => {
  const { publicKey, privateKey } = await generateKeyPair("ES256");
  const stranger = await generateKeyPair("ES256");
  const bff = await start({ SESSION_PUBLIC_KEY: await exportSPKI(publicKey) });
  try {
    expect((await send(bff.url, await sign(privateKey))).status).toBe(201);
    const refused = await send(bff.url, await sign(stranger.privateKey));
    expect(refused.status).toBe(401);
    expect(refused.headers.get("www-authenticate")).toBe('Bearer error="invalid_token"');
    expect(await readCode(refused)).toBe("session_invalid");
  } finally {
    await bff.stop();
  }
});

test("with the issuer out from the start sessions are 503, not 401; once it is up they are served, and go on when it fails", async () => {
  emulator.reset();
  const { publicKey, privateKey } = await generateKeyPair("ES256");
  const jwks = JSON.stringify({ keys: [{ ...(await exportJWK(publicKey)), kid: "one" }] });
  const port = await findFreePort();
  const bff = await start({ SESSION_JWKS_URL: `http://127.0.0.1:${port}/keys` });
  let issuer: Server | undefined;
  try {
    const token = await sign(privateKey, "one");
    const early = await send(bff.url, token);
    expect(early.status).toBe(503);
    expect(Number(early.headers.get("retry-after"))).toBeGreaterThanOrEqual(1);
    expect(await readCode(early)).toBe("auth_unavailable");
    const ready = await fetch(`${bff.url}/readyz`);
    expect(ready.status).toBe(503);
    expect(await readCode(ready)).toBe("auth_unavailable");

    issuer = createServer((_request, response) => response.end(jwks)).listen(port, "127.0.0.1");
    await expect
      .poll(async () => (await send(bff.url, token)).status, { timeout: 10_000 })
      .toBe(201);
    await expect.poll(async () => (await fetch(`${bff.url}/readyz`)).status).toBe(200);

    issuer.closeAllConnections();
    issuer.close();
    expect((await send(bff.url, await sign(privateKey, "one"))).status).toBe(201);
    expect(emulator.messages()).toEqual([expect.objectContaining({ arrived: 2, taken: 2 })]);
  } finally {
    issuer?.close();
    await bff.stop();
  }
});

test("a flood of unknown keys causes one fetch and counts no failure; known keys are served meanwhile", async () => {
  const { publicKey, privateKey } = await generateKeyPair("ES256");
  // Some issuers write members without a value.
  const empty = { use: null, alg: "", key_ops: [] };
  const jwks = JSON.stringify({
    keys: [{ ...(await exportJWK(publicKey)), kid: "one", ...empty }],
  });
  let fetched = 0;
  const port = await findFreePort();
  const issuer = createServer((_request, response) => {
    fetched += 1;
    response.end(jwks);
  }).listen(port, "127.0.0.1");
  const bff = await start({
    SESSION_JWKS_URL: `http://127.0.0.1:${port}/keys`,
    LIMIT_AUTH_FAILURES: "1/1h",
  });
  try {
    const token = await sign(privateKey, "one");
    expect((await send(bff.url, token)).status).toBe(201);
    for (let index = 0; index < 20; index += 1) {
      const unknown = await send(bff.url, await sign(privateKey, `unknown-${index}`));
      expect(unknown.status).toBe(503);
      const seconds = Number(unknown.headers.get("retry-after"));
      expect(seconds).toBeGreaterThanOrEqual(1);
      expect(seconds).toBeLessThanOrEqual(30);
      expect(await readCode(unknown)).toBe("auth_unavailable");
    }
    // None of them counted as a wrong credential: this is the first one, and one is allowed.
    expect((await send(bff.url, "a.b.c")).status).toBe(401);
    expect((await send(bff.url, token)).status).toBe(201);
    expect(fetched).toBe(1);
  } finally {
    issuer.closeAllConnections();
    issuer.close();
    await bff.stop();
  }
});
