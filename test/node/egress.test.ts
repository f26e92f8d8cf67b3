/** Connections to UponAI, the issuer and Redis: slow addresses, proxies and private CAs. */
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";

import type { RunningEmulator } from "../../src/emulator/listen.ts";
import {
  bffEnvironment,
  readCode,
  sendMessage,
  startTestBff,
  startTestEmulator,
} from "../support/bff-fixture.ts";
import { spawnBff } from "../support/bff-process.ts";
import { type ConnectProxy, startConnectProxy } from "../support/connect-proxy.ts";
import { findFreePort } from "../support/ports.ts";
import {
  resolveLocalhost,
  SLOW_ADDRESS,
  type SlowPort,
  startSlowPort,
} from "../support/slow-port.ts";

const root = new URL("../../", import.meta.url);
const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end();
});

let emulator: RunningEmulator;
beforeAll(async () => {
  emulator = await startTestEmulator();
});
beforeEach(() => emulator.reset());
afterAll(() => emulator.close());

async function start(upstreamUrl: string, environment: Record<string, string> = {}) {
  const bff = await startTestBff(upstreamUrl, environment);
  ends.push(() => bff.stop());
  return bff;
}

function portOf(url: string): number {
  return Number(new URL(url).port);
}

async function listen(server: Server): Promise<number> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  ends.push(() => {
    server.closeAllConnections();
    server.close();
  });
  const address = server.address();
  return address !== null && typeof address === "object" ? address.port : 0;
}

/** Serves a key set without keys and counts the requests. */
async function startIssuer(): Promise<{ readonly port: number; fetched: () => string[] }> {
  const agents: string[] = [];
  const server = createServer(({ headers }, response) => {
    agents.push(headers["user-agent"] ?? "");
    response.setHeader("content-type", "application/json").end(JSON.stringify({ keys: [KEY] }));
  });
  return { port: await listen(server), fetched: () => agents };
}

/** A public key on P-256 (its generator point). No token of these tests is signed with it. */
const KEY = {
  kty: "EC",
  crv: "P-256",
  alg: "ES256",
  kid: "k1",
  x: "axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY",
  y: "T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU",
};

function jwks(url: string): Record<string, string> {
  return { SESSION_SECRET: "", SESSION_JWKS_URL: `${url}/jwks.json` };
}

async function startSlow(targetPort: number): Promise<SlowPort> {
  const slow = await startSlowPort(targetPort);
  ends.push(slow.close);
  return slow;
}

describe("a name whose first address is slow and whose last one refuses", () => {
  const both = { NODE_OPTIONS: resolveLocalhost(SLOW_ADDRESS, "127.0.0.1") };

  test("is waited for as long as UPSTREAM_CONNECT_TIMEOUT allows: the message is sent", async () => {
    const slow = await startSlow(portOf(emulator.url));
    const bff = await start(`http://localhost:${slow.port}`, {
      ...both,
      UPSTREAM_CONNECT_TIMEOUT: "15s",
    });
    const answer = sendMessage(bff.url, "hi");
    setTimeout(slow.open, 600);
    expect((await answer).status).toBe(201);
    expect(emulator.messages()).toMatchObject([{ arrived: 1 }]);
  });

  test("is given up after UPSTREAM_CONNECT_TIMEOUT, and not tried again", async () => {
    const slow = await startSlow(portOf(emulator.url));
    const bff = await start(`http://localhost:${slow.port}`, {
      ...both,
      UPSTREAM_CONNECT_TIMEOUT: "1s",
    });
    const answer = await sendMessage(bff.url, "hi", { headers: { "X-Request-Id": "slow" } });
    expect([answer.status, await readCode(answer)]).toEqual([502, "upstream_unreachable"]);
    const line = await bff.waitForLine(({ reqId }) => reqId === "slow");
    expect(line).toMatchObject({ retries: 0 });
    expect(line["upstreamMs"]).toBeGreaterThan(950);
  });

  test("serves session keys", async () => {
    const issuer = await startIssuer();
    const slow = await startSlow(issuer.port);
    const bff = await start(emulator.url, { ...both, ...jwks(`http://localhost:${slow.port}`) });
    setTimeout(slow.open, 600);
    const isReady = async () => (await fetch(`${bff.url}/readyz`)).status;
    expect(await isReady()).toBe(200);
    expect(issuer.fetched()).toHaveLength(1);
  });
});

test("a name whose addresses all refuse is tried twice and answered at once", async () => {
  const port = await findFreePort();
  const bff = await start(`http://localhost:${port}`, {
    NODE_OPTIONS: resolveLocalhost(SLOW_ADDRESS, "127.0.0.1"),
  });
  const answer = await sendMessage(bff.url, "hi", { headers: { "X-Request-Id": "refused" } });
  expect([answer.status, await readCode(answer)]).toEqual([502, "upstream_unreachable"]);
  const line = await bff.waitForLine(({ reqId }) => reqId === "refused");
  expect(line).toMatchObject({ retries: 1 });
});

describe("a proxy", () => {
  let proxy: ConnectProxy;
  beforeEach(async () => {
    proxy = await startConnectProxy();
    ends.push(() => proxy.close());
  });

  test.each(["HTTP_PROXY", "http_proxy"])(
    "that %s names carries every message through a tunnel, with its credentials",
    async (variable) => {
      const url = proxy.url.replace("://", "://user:proxy-canary-password@");
      const bff = await start(emulator.url, { [variable]: url });
      expect((await sendMessage(bff.url, "one")).status).toBe(201);
      expect((await sendMessage(bff.url, "two")).status).toBe(201);
      const authorization = `Basic ${btoa("user:proxy-canary-password")}`;
      expect(proxy.connects[0]).toEqual({ target: new URL(emulator.url).host, authorization });
      // Neither UponAI nor the log gets the credentials.
      const headers = JSON.stringify(emulator.requests().map((request) => request.headers));
      expect(headers).not.toContain("proxy");
      expect(bff.lines.join("\n")).not.toContain("proxy-canary-password");
    },
  );

  test("is the one that is meant where quotes and white space stand around its URL", async () => {
    const quoted = { HTTP_PROXY: `"${proxy.url}"\n`, NO_PROXY: '"x.test"' };
    const bff = await start(emulator.url, quoted);
    expect((await sendMessage(bff.url, "hi")).status).toBe(201);
    expect(proxy.connects).toHaveLength(1);
    const excepted = await start(emulator.url, { ...quoted, NO_PROXY: '"127.0.0.1"' });
    expect((await sendMessage(excepted.url, "hi")).status).toBe(201);
    expect(proxy.connects).toHaveLength(1);
  });

  test("is not used for hosts of NO_PROXY", async () => {
    const bff = await start(emulator.url, { HTTP_PROXY: proxy.url, NO_PROXY: "x.test,127.0.0.1" });
    expect((await sendMessage(bff.url, "hi")).status).toBe(201);
    expect(proxy.connects).toHaveLength(0);
  });

  test("for the other scheme is not used", async () => {
    const bff = await start(emulator.url, { HTTPS_PROXY: proxy.url });
    expect((await sendMessage(bff.url, "hi")).status).toBe(201);
    expect(proxy.connects).toHaveLength(0);
  });

  test.each([403, 407, 502, "hang-up"] as const)(
    "that answers CONNECT with %s: the message was not sent, which is tried twice",
    async (mode) => {
      const bff = await start(emulator.url, { HTTP_PROXY: proxy.url });
      proxy.mode = mode;
      const headers = { "X-Request-Id": "refused", "Idempotency-Key": "key-1" };
      const answer = await sendMessage(bff.url, "hi", { headers });
      expect([answer.status, await readCode(answer)]).toEqual([502, "upstream_unreachable"]);
      const line = await bff.waitForLine(({ reqId }) => reqId === "refused");
      expect(line).toMatchObject({ retries: 1 });
      // The message was not sent, so its key may be used again.
      expect(emulator.messages()).toHaveLength(0);
      proxy.mode = "tunnel";
      expect((await sendMessage(bff.url, "hi", { headers })).status).toBe(201);
    },
  );

  test("that does not run: the message is not sent", async () => {
    const bff = await start(emulator.url, {
      HTTP_PROXY: `http://127.0.0.1:${await findFreePort()}`,
    });
    expect(await readCode(await sendMessage(bff.url, "hi"))).toBe("upstream_unreachable");
  });

  test("that says nothing is given up after UPSTREAM_CONNECT_TIMEOUT", async () => {
    const bff = await start(emulator.url, {
      HTTP_PROXY: proxy.url,
      UPSTREAM_CONNECT_TIMEOUT: "1s",
      UPSTREAM_TIMEOUT: "20s",
    });
    proxy.mode = "silent";
    const answer = await sendMessage(bff.url, "hi", { headers: { "X-Request-Id": "silent" } });
    expect(await readCode(answer)).toBe("upstream_unreachable");
    const line = await bff.waitForLine(({ reqId }) => reqId === "silent");
    expect(line).toMatchObject({ retries: 0 });
  });

  test("that breaks the tunnel once the message is in it: its outcome is unknown", async () => {
    const bff = await start(emulator.url, { HTTP_PROXY: proxy.url });
    proxy.mode = "cut-answers";
    const answer = await sendMessage(bff.url, "hi");
    expect([answer.status, await readCode(answer)]).toEqual([504, "outcome_unknown"]);
    expect(emulator.messages()).toMatchObject([{ arrived: 1 }]);
  });

  test("carries the request for session keys", async () => {
    const issuer = await startIssuer();
    const bff = await start(emulator.url, {
      HTTP_PROXY: proxy.url,
      ...jwks(`http://127.0.0.1:${issuer.port}`),
    });
    expect((await fetch(`${bff.url}/readyz`)).status).toBe(200);
    expect(proxy.connects.map(({ target }) => target)).toEqual([`127.0.0.1:${issuer.port}`]);
    expect(issuer.fetched()).toEqual([expect.stringMatching(/^uponai-bff\/\d/)]);
  });

  test("is not used for the health check", async () => {
    const bff = await start(emulator.url);
    const dead = `http://127.0.0.1:${await findFreePort()}`;
    const child = spawn(
      process.execPath,
      [new URL("dist/platform/node/healthcheck.js", root).pathname],
      {
        env: {
          ...bffEnvironment(emulator.url),
          HOST: "127.0.0.1",
          PORT: String(portOf(bff.url)),
          HTTP_PROXY: dead,
          NODE_USE_ENV_PROXY: "1",
        },
      },
    );
    expect(await once(child, "exit")).toEqual([0, null]);
  });

  test.each([
    ["HTTPS_PROXY", "proxy-canary-host:3128"],
    ["HTTP_PROXY", "socks5://proxy-canary-host:1080"],
  ])("%s=%s is a wrong configuration, and its value is not told", async (variable, value) => {
    const bff = spawnBff({ ...bffEnvironment(emulator.url), [variable]: value });
    expect(await bff.exited()).toBe(78);
    expect(bff.log()).toMatchObject([{ level: "fatal", variable }]);
    expect(bff.lines.join("\n")).not.toContain("proxy-canary-host");
  });
});

describe("TLS", () => {
  const folder = mkdtempSync(join(tmpdir(), "bff-egress-"));
  const openssl = (...args: string[]) =>
    execFileSync("openssl", args, { cwd: folder, stdio: "ignore" });
  beforeAll(() => {
    const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    const [ca, caKey] = ["ca.crt", "ca.key"];
    const subject = ["-subj", "/CN=our own CA", "-days", "2"];
    openssl("req", "-x509", ...key, "-keyout", caKey, "-out", ca, ...subject);
    openssl("req", ...key, "-keyout", "s.key", "-out", "s.csr", "-subj", "/CN=uponai");
    writeFileSync(join(folder, "names"), "subjectAltName=IP:127.0.0.1,DNS:localhost");
    const signing = ["-CA", ca, "-CAkey", caKey, "-CAcreateserial", "-extfile", "names"];
    openssl("x509", "-req", "-in", "s.csr", ...signing, "-out", "s.crt", "-days", "2");
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  let url: string;
  let requests: number;
  beforeEach(async () => {
    requests = 0;
    const server = createTlsServer(
      {
        key: readFileSync(join(folder, "s.key")),
        cert: readFileSync(join(folder, "s.crt")),
        ALPNProtocols: ["h2", "http/1.1"],
      },
      (request, response) => {
        requests += 1;
        request.resume();
        response.writeHead(201).end('{"messages":[{"role":"assistant","content":"Hi"}]}');
      },
    );
    url = `https://127.0.0.1:${await listen(server)}`;
  });
  const trusting = { NODE_EXTRA_CA_CERTS: join(folder, "ca.crt") };

  test("with a certificate of an unknown CA: nothing is sent", async () => {
    const bff = await start(url);
    expect(await readCode(await sendMessage(bff.url, "hi"))).toBe("upstream_unreachable");
    expect(requests).toBe(0);
  });

  test("with a CA of NODE_EXTRA_CA_CERTS is trusted, by name and by address", async () => {
    const bff = await start(url, trusting);
    expect((await sendMessage(bff.url, "one")).status).toBe(201);
    expect((await sendMessage(bff.url, "two")).status).toBe(201);
    const named = await start(url.replace("127.0.0.1", "localhost"), trusting);
    expect((await sendMessage(named.url, "three")).status).toBe(201);
    expect(requests).toBe(3);
  });

  test("through the proxy of HTTPS_PROXY is checked all the same", async () => {
    const proxy = await startConnectProxy();
    ends.push(() => proxy.close());
    const through = { HTTPS_PROXY: proxy.url };
    const wary = await start(url, through);
    expect(await readCode(await sendMessage(wary.url, "hi"))).toBe("upstream_unreachable");
    expect(requests).toBe(0);
    const bff = await start(url, { ...through, ...trusting });
    expect((await sendMessage(bff.url, "hi")).status).toBe(201);
    expect(new Set(proxy.connects.map(({ target }) => target))).toEqual(
      new Set([new URL(url).host]),
    );
  });
});
