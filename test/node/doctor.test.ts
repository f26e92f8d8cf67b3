/**
 * `uponai-bff doctor` against a real Redis and the emulator: its findings, and the secrets it never
 * shows.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type RequestListener, type Server } from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";

import { Redis } from "ioredis";
import { exportJWK, generateKeyPair } from "jose";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";

import type { RunningEmulator } from "../../src/emulator/listen.ts";
import { bffEnvironment, startTestEmulator, UPSTREAM_TOKEN } from "../support/bff-fixture.ts";
import { expectNoCanary } from "../support/canary.ts";
import { runCli } from "../support/cli.ts";
import { findFreePort } from "../support/ports.ts";
import { type RedisCluster, startCluster } from "../support/redis-cluster.ts";
import { PRIMARY_NAME, type SentinelGroup, startSentinels } from "../support/redis-sentinel.ts";
import { type RedisServer, startRedis } from "../support/redis-server.ts";

interface Finding {
  readonly check: string;
  readonly status: string;
  readonly detail: string;
  readonly action?: string;
}

/** Directory for the files of Redis. */
const folder = mkdtempSync(path.join(tmpdir(), "uponai-bff-doctor-"));
let emulator: RunningEmulator;
/** The recommended settings: an append-only file, and no eviction. */
let redis: RedisServer;
const others: RedisServer[] = [];
const servers: Server[] = [];

beforeAll(async () => {
  const persistent = ["--dir", folder, "--appendonly", "yes", "--maxmemory-policy", "noeviction"];
  [emulator, redis] = await Promise.all([startTestEmulator(), startRedis(persistent)]);
});
afterEach(async () => {
  for (const server of servers.splice(0)) server.close();
  await Promise.all(others.splice(0).map((other) => other.kill()));
});
afterAll(async () => {
  await Promise.all([emulator.close(), redis.kill()]);
  rmSync(folder, { recursive: true, force: true });
});

async function startOther(args: readonly string[]): Promise<RedisServer> {
  const other = await startRedis(args);
  others.push(other);
  return other;
}

async function serve(listener: RequestListener): Promise<string> {
  const server = createServer(listener);
  servers.push(server);
  const port = await findFreePort();
  await new Promise<void>((resolve) => {
    server.listen(port, "127.0.0.1", resolve);
  });
  return `http://127.0.0.1:${port}`;
}

async function diagnose(more: Record<string, string> = {}) {
  const environment = bffEnvironment(emulator.url, { REDIS_URL: redis.url, ...more });
  const { code, stdout, stderr } = await runCli(["doctor", "--json"], environment);
  expectNoCanary(stdout + stderr);
  const { status, checks } = JSON.parse(stdout) as { status: string; checks: Finding[] };
  for (const { status: found, action } of checks) {
    // Each finding that is not ok has an action. Configuration warnings state the action in their
    // text.
    if (found === "fail") expect(action).toMatch(/\w/);
  }
  return { code, status, checks, of: (check: string) => checks.filter((f) => f.check === check) };
}

const withIssuer = (url: string) => diagnose({ SESSION_SECRET: "", SESSION_JWKS_URL: url });

/** Serves an issuer's keys with a `Date` header of the given time. */
async function publishKeys(date: Date): Promise<string> {
  const { publicKey } = await generateKeyPair("ES256", { extractable: true });
  const body = JSON.stringify({ keys: [await exportJWK(publicKey)] });
  return serve((_request, response) => response.setHeader("Date", date.toUTCString()).end(body));
}

describe("a service with a correct configuration", () => {
  test("has nothing but ok, and exit code 0", async () => {
    const { code, status, checks } = await diagnose();
    expect(checks.filter((finding) => finding.status !== "ok")).toEqual([]);
    expect({ code, status }).toEqual({ code: 0, status: "ok" });
    expect(new Set(checks.map(({ check }) => check))).toEqual(
      new Set([
        "configuration",
        "cookies",
        "origins",
        "session key",
        "state",
        "clock",
        "eviction",
        "persistence",
        "token of workspace 42",
      ]),
    );
  });

  test("is printed as one line per finding", async () => {
    const environment = bffEnvironment(emulator.url, { REDIS_URL: redis.url });
    const { code, stdout, stderr } = await runCli(["doctor"], environment);
    expectNoCanary(stdout);
    expect(code).toBe(0);
    expect(stderr).toBe("");
    expect(stdout).toMatch(/^ok {4}state +Redis answers in \d+\.\d ms/m);
    expect(stdout).toMatch(/\n9 ok, 0 warnings, 0 failed\n$/);
  });

  test("is sent no message", () => {
    expect(emulator.messages()).toEqual([]);
  });
});

describe("the parts that it does not check", () => {
  test("is said: a token that is accepted may not reach its workspace", async () => {
    const environment = bffEnvironment(emulator.url, { REDIS_URL: redis.url });
    const { stdout } = await runCli(["doctor"], environment);
    expect(stdout).toMatch(
      /^ok {4}token of workspace 42 .*whether it can use the workspace is not checked/m,
    );
    expect(stdout).toMatch(/^not checked: whether each token can use its workspaces/m);
    const { notChecked } = JSON.parse((await runCli(["doctor", "--json"], environment)).stdout) as {
      notChecked: string[];
    };
    expect(notChecked.length).toBeGreaterThan(1);
  });

  test("is everything, where the configuration is wrong", async () => {
    const { stdout } = await runCli(["doctor"], bffEnvironment(emulator.url, { PORT: "x" }));
    expect(stdout).toContain("not checked: whether anything besides the configuration works");
  });
});

describe("the configuration", () => {
  test("that would not start the service: every problem, and its exit code 78", async () => {
    const { code, checks } = await diagnose({ SESSION_SECRET: "canary", LIMIT_IP: "many" });
    expect(code).toBe(78);
    expect(checks.map(({ status, detail }) => [status, detail.split(" ")[0]])).toEqual([
      ["fail", "SESSION_SECRET"],
      ["fail", "LIMIT_IP"],
    ]);
  });

  test("a public key that cannot be read is as wrong", async () => {
    const pem = "-----BEGIN PUBLIC KEY-----\ncanary";
    const { code, checks } = await diagnose({ SESSION_SECRET: "", SESSION_PUBLIC_KEY: pem });
    expect(code).toBe(78);
    expect(checks[0]?.detail).toContain("SESSION_PUBLIC_KEY");
  });

  test("with stray characters and near misses is warned about, without a value", async () => {
    const { code, of } = await diagnose({
      LIMIT_IP: '"9/1m"',
      UPONAI_TOKEN: "near-canary",
      UPONAI_AGENT: "agent-canary",
      SESSION_AUDIENCE: "uponai-bff-tests\n",
    });
    expect(code).toBe(0);
    const told = of("configuration").map(({ detail }) => detail);
    expect(told.join("\n")).toMatch(/SESSION_AUDIENCE had .*\nIn quotes.*LIMIT_IP/);
    expect(told).toContain(
      "UPONAI_TOKEN is not a variable of this service; did you mean UPONAI_API_TOKEN?",
    );
    expect(told).toContain(
      "UPONAI_AGENT is not a variable of this service; did you mean UPONAI_AGENT_ID?",
    );
  });

  test("with warnings alone is exit code 0", async () => {
    const { code, status, of } = await diagnose({ REDIS_URL: "", LIMIT_SESION: "1/1m" });
    expect({ code, status }).toEqual({ code: 0, status: "warn" });
    const warned = of("configuration").filter((finding) => finding.status === "warn");
    expect(warned.map(({ detail }) => detail).join("\n")).toMatch(
      /this process[\s\S]*LIMIT_SESSION/,
    );
  });
});

describe("the session key", () => {
  test.each(["canary".repeat(8), "c".repeat(64)])(
    "%j repeats itself: a warning",
    async (secret) => {
      const { code, of } = await diagnose({ SESSION_SECRET: secret });
      expect(code).toBe(0);
      expect(of("session key")).toMatchObject([{ status: "warn" }]);
    },
  );

  test("at an issuer is fetched and counted, and its clock compared", async () => {
    const { code, of } = await withIssuer(await publishKeys(new Date()));
    expect(code).toBe(0);
    expect(of("session key")[0]?.detail).toContain("1 usable key");
    expect(of("clock").map(({ status }) => status)).toEqual(["ok", "ok"]);
  });

  test.each([
    [10_000, "warn", "ahead of"],
    [-10_000, "warn", "behind"],
    [120_000, "fail", "ahead of"],
  ])("an issuer whose clock is off by %d ms: %s", async (offMs, status, where) => {
    const { of } = await withIssuer(await publishKeys(new Date(Date.now() + offMs)));
    const found = of("clock").find(({ detail }) => detail.includes("issuer"));
    expect(found).toMatchObject({ status });
    expect(found?.detail).toContain(where);
  });

  test.each<[string, RequestListener]>([
    ["has no key", (_request, response) => response.end('{"keys":[]}')],
    ["answers no JSON", (_request, response) => response.end("<html>")],
    ["redirects", (_request, response) => response.writeHead(302, { Location: "/" }).end()],
    ["hangs up", (request) => request.socket.destroy()],
  ])("an issuer that %s: a failure, and exit code 1", async (_what, listener) => {
    const { code, of } = await withIssuer(await serve(listener));
    expect(code).toBe(1);
    expect(of("session key")).toMatchObject([{ status: "fail" }]);
  });
});

describe("the state", () => {
  test("that is not there: a failure, with the reason", async () => {
    const port = await findFreePort();
    const { code, of } = await diagnose({ REDIS_URL: `redis://:canary@127.0.0.1:${port}` });
    expect(code).toBe(1);
    expect(of("state")).toMatchObject([
      { status: "fail", detail: expect.stringContaining("REFUSED") },
    ]);
  });

  test("that refuses the password: a failure, with the reason and without the password", async () => {
    const { url } = await startOther(["--requirepass", "right-canary"]);
    const { code, of } = await diagnose({ REDIS_URL: url.replace("//", "//:wrong-canary@") });
    expect(code).toBe(1);
    expect(of("state")[0]?.detail).toMatch(/WRONGPASS|NOAUTH/);
  });

  test("that may evict keys and keeps nothing on disk: two warnings", async () => {
    const { url } = await startOther(["--maxmemory-policy", "allkeys-lru"]);
    const { code, of } = await diagnose({ REDIS_URL: url });
    expect(code).toBe(0);
    expect(of("eviction")).toMatchObject([{ status: "warn" }]);
    expect(of("persistence")[0]?.detail).toContain("keeps nothing on disk");
  });

  test("that takes snapshots only: a warning", async () => {
    const { url } = await startOther(["--dir", folder, "--save", "3600 1"]);
    const { of } = await diagnose({ REDIS_URL: url });
    expect(of("persistence")[0]?.detail).toContain("snapshots only");
  });

  test("that takes no writes: a failure", async () => {
    const { port } = await startOther([]);
    const { url } = await startOther(["--dir", folder, "--replicaof", `127.0.0.1 ${port}`]);
    const { code, of } = await diagnose({ REDIS_URL: url });
    expect(code).toBe(1);
    expect(of("state")).toMatchObject([{ status: "fail" }]);
  });

  test("that is a cluster: a failure while slots are not served, and ok once they are", async () => {
    const { url } = await startOther(["--dir", folder, "--cluster-enabled", "yes"]);
    const before = await diagnose({ REDIS_URL: url });
    expect(before.code).toBe(1);
    expect(before.of("cluster")).toMatchObject([
      { status: "fail", detail: "0 of 16384 slots are served" },
    ]);

    const admin = new Redis(url);
    await admin.call("CLUSTER", "ADDSLOTSRANGE", "0", "16383");
    const isServed = async () => String(await admin.call("CLUSTER", "INFO")).includes("state:ok");
    await expect.poll(isServed, { timeout: 10_000 }).toBe(true);
    admin.disconnect();
    const after = await diagnose({ REDIS_URL: url });
    expect(after.code).toBe(0);
    expect(after.of("cluster")).toMatchObject([{ status: "ok" }]);
  });
});

describe("a state behind Sentinels", () => {
  let group: SentinelGroup;
  const urlOf = (name: string, hosts = group.hosts, query = "?sentinelPassword=watch-canary") =>
    `redis+sentinel://:data-canary@${hosts}/${name}${query}`;
  beforeAll(async () => {
    group = await startSentinels({ password: "data-canary", sentinelPassword: "watch-canary" });
  });
  afterAll(() => group.stop());

  test("is asked at its primary: reached, with its own settings", async () => {
    const admin = new Redis(group.primary.port, { password: "data-canary" });
    await admin.config("SET", "maxmemory-policy", "allkeys-lru");
    const { code, of } = await diagnose({ REDIS_URL: urlOf(PRIMARY_NAME) });
    await admin.config("SET", "maxmemory-policy", "noeviction");
    admin.disconnect();
    expect(code).toBe(0);
    expect(of("state")).toMatchObject([{ status: "ok" }]);
    // The replica has the right policy, so the finding shows that the primary's policy was read.
    expect(of("eviction")).toMatchObject([{ status: "warn" }]);
    expect(of("persistence")[0]?.detail).toContain("keeps nothing on disk");
    expect(of("clock").some(({ detail }) => detail.includes("Redis"))).toBe(true);
    expect(of("cluster")).toEqual([]);
    expect(of("state settings")).toEqual([]);
  });

  test("is reached although the first Sentinel is not there", async () => {
    const hosts = `127.0.0.1:${await findFreePort()},${group.hosts}`;
    const { code, of } = await diagnose({ REDIS_URL: urlOf(PRIMARY_NAME, hosts) });
    expect(code).toBe(0);
    expect(of("state")).toMatchObject([{ status: "ok" }]);
  });

  test.each([
    ["whose Sentinels do not know the name of the primary", () => urlOf("other")],
    ["whose Sentinels refuse the password", () => urlOf(PRIMARY_NAME, group.hosts, "")],
    ["whose Sentinels are not there", () => urlOf(PRIMARY_NAME, "127.0.0.1:1")],
  ])("%s: a failure", async (_what, url) => {
    const { code, of } = await diagnose({ REDIS_URL: url() });
    expect(code).toBe(1);
    expect(of("state")).toMatchObject([{ status: "fail" }]);
  });
});

describe("a state that is a Cluster of several nodes", () => {
  let cluster: RedisCluster;
  beforeAll(async () => {
    cluster = await startCluster(0, ["--appendonly", "yes", "--requirepass", "data-canary"]);
  });
  afterAll(() => cluster.stop());
  const url = () => cluster.url.replace("//", "//:data-canary@");

  test("is reached, and all its slots are counted", async () => {
    const { code, checks, of } = await diagnose({ REDIS_URL: url() });
    expect(checks.filter(({ status }) => status !== "ok")).toEqual([]);
    expect(code).toBe(0);
    expect(of("cluster")).toMatchObject([{ status: "ok", detail: "all 16384 slots are served" }]);
    expect(of("persistence")).toMatchObject([{ status: "ok" }]);
    expect(of("clock").some(({ detail }) => detail.includes("Redis"))).toBe(true);
  });

  test("that refuses the password: a failure", async () => {
    const wrong = cluster.url.replace("//", "//:wrong-canary@");
    const { code, of } = await diagnose({ REDIS_URL: wrong });
    expect(code).toBe(1);
    expect(of("state")).toMatchObject([{ status: "fail" }]);
  });

  test("of which a primary died: a failure", async () => {
    const last = cluster.primaries.at(-1);
    await last?.kill();
    const survivor = cluster.primaries[0];
    const noticed = async () =>
      String(await survivor?.admin.cluster("INFO")).includes("cluster_state:fail");
    await expect.poll(noticed, { timeout: 20_000 }).toBe(true);
    const { code, of } = await diagnose({ REDIS_URL: url() });
    expect(code).toBe(1);
    // As for the service: this Cluster serves no slot while some slots are missing.
    expect(of("state")).toMatchObject([
      { status: "fail", action: expect.stringContaining("the Cluster is whole") },
    ]);
  });
});

describe("UponAI", () => {
  test("every token is tried once, and a refused one is named by its workspace and place", async () => {
    const WORKSPACES = JSON.stringify({
      acme: { id: 42, apiToken: `${UPSTREAM_TOKEN},dead-canary` },
      globex: 43,
    });
    const { code, checks } = await diagnose({ UPONAI_WORKSPACE_ID: "", WORKSPACES });
    expect(code).toBe(1);
    const tokens = checks.filter(({ check }) => check.startsWith("token"));
    expect(tokens.map(({ check, status }) => [check, status])).toEqual([
      ["token of workspace 42, 1 of 2 and of workspace 43", "ok"],
      ["token of workspace 42, 2 of 2", "fail"],
    ]);
  });

  test("that cannot be reached is one failure, however many tokens there are", async () => {
    const { code, of, checks } = await diagnose({
      UPONAI_BASE_URL: `http://127.0.0.1:${await findFreePort()}`,
      UPONAI_API_TOKEN: "one-canary,two-canary",
    });
    expect(code).toBe(1);
    expect(of("UponAI")).toMatchObject([{ status: "fail" }]);
    expect(checks.filter(({ check }) => check.startsWith("token"))).toEqual([]);
  });

  test("that answers with another status is a warning: the token is not checked", async () => {
    const url = await serve((_request, response) => response.writeHead(500).end("canary"));
    const { code, of } = await diagnose({ UPONAI_BASE_URL: url });
    expect(code).toBe(0);
    expect(of("token of workspace 42")).toMatchObject([{ status: "warn" }]);
  });
});

describe("cookies and origins", () => {
  const COOKIE_KEYS = Buffer.from("0123456789abcdefghijklmnopqrstuv").toString("base64url");

  test.each([
    [{ COOKIE_KEYS, ALLOWED_ORIGINS: "https://www.a.example" }, "ok"],
    [{ COOKIE_KEYS, ALLOWED_ORIGINS: "https://www.a.example,https://shop.a.example" }, "ok"],
    [{ COOKIE_KEYS, ALLOWED_ORIGINS: "https://www.a.example,https://www.b.example" }, "warn"],
    [{ COOKIE_KEYS, ALLOWED_ORIGINS: "http://localhost:3000" }, "warn"],
    [{ ALLOWED_ORIGINS: "https://www.a.example,https://www.b.example" }, "ok"],
  ])("%j: %s", async (environment, status) => {
    const { code, of } = await diagnose(environment);
    expect(code).toBe(0);
    expect(of("origins")).toMatchObject([{ status }]);
  });

  test("doctor reports how many chat ids a session cookie may hold behind common proxies", async () => {
    const { of } = await diagnose({ COOKIE_KEYS });
    expect(of("cookie size")).toMatchObject([
      { status: "ok", detail: expect.stringMatching(/about [45]\d chat ids/) },
    ]);
    const key = "k".repeat(2_500);
    const WORKSPACES = JSON.stringify({ [key]: { id: 42 } });
    const long = await diagnose({ COOKIE_KEYS, UPONAI_WORKSPACE_ID: "", WORKSPACES });
    expect(long.of("cookie size")).toMatchObject([
      { status: "warn", action: expect.stringContaining("proxy_buffer_size") },
    ]);
  });

  test("a cookie key that repeats itself: a warning", async () => {
    const zeros = Buffer.alloc(32).toString("base64url");
    const { of } = await diagnose({ COOKIE_KEYS: zeros });
    expect(of("cookies")).toMatchObject([{ status: "warn" }]);
  });
});
