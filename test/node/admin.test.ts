/** The admin listener on ADMIN_PORT: metrics and probes, and no other route. */
import { createServer } from "node:net";

import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from "vitest";

import type { RunningEmulator } from "../../src/emulator/listen.ts";
import {
  bffEnvironment,
  CHAT,
  readCode,
  sendMessage,
  startTestBff,
  startTestEmulator,
} from "../support/bff-fixture.ts";
import { type BffProcess, spawnBff } from "../support/bff-process.ts";
import { expectNoCanary } from "../support/canary.ts";
import { openRaw } from "../support/raw-http.ts";
import { type RedisServer, startRedis } from "../support/redis-server.ts";

const SEND = 'route="/chat/:chatId/send"';
const UNLIMITED = { LIMIT_SESSION: "off", LIMIT_IP: "off", LIMIT_WORKSPACE: "off" };

let emulator: RunningEmulator;
let redis: RedisServer;

beforeAll(async () => {
  [emulator, redis] = await Promise.all([startTestEmulator(), startRedis()]);
});
beforeEach(() => emulator.reset());
afterAll(async () => {
  await Promise.all([emulator.close(), redis.kill()]);
});

interface Watched extends BffProcess {
  readonly adminUrl: string;
}

async function startWatched(more: Record<string, string> = {}): Promise<Watched> {
  const bff = await startTestBff(emulator.url, { ADMIN_PORT: "0", ...more });
  const { adminPort } = await bff.waitForLine(({ msg }) => msg === "listening");
  return { ...bff, adminUrl: `http://127.0.0.1:${String(adminPort)}` };
}

/** Stopped after the test, also if the test fails. */
async function startForTest(more: Record<string, string>): Promise<Watched> {
  const bff = await startWatched(more);
  onTestFinished(async () => {
    await bff.stop();
  });
  return bff;
}

async function scrape({ adminUrl }: Watched): Promise<string> {
  const response = await fetch(`${adminUrl}/metrics`);
  expect(response.status).toBe(200);
  expect(response.headers.get("content-type")).toContain("text/plain; version=0.0.4");
  const text = await response.text();
  expectNoCanary(text);
  return text;
}

describe("metrics", () => {
  let bff: Watched;
  let text: string;
  beforeAll(async () => {
    const REDIS_PREFIX = "metrics:";
    bff = await startWatched({ REDIS_URL: redis.url, REDIS_PREFIX, LIMIT_SESSION: "1/1h" });
    expect((await sendMessage(bff.url, "one", { subject: "subject-7f3a" })).status).toBe(201);
    expect((await sendMessage(bff.url, "two", { subject: "subject-7f3a" })).status).toBe(429);
    const wrong = { headers: { Authorization: "Bearer x.y.z" } };
    expect((await sendMessage(bff.url, "three", wrong)).status).toBe(401);
    expect((await fetch(`${bff.url}/no/such-path-9c1e`)).status).toBe(404);
    const raw = await openRaw(bff.url);
    raw.write("NONSENSE\r\n\r\n");
    await raw.received("400");
    text = await scrape(bff);
  });
  afterAll(async () => {
    await bff.stop();
  });

  test("are never on the public port", async () => {
    const response = await fetch(`${bff.url}/metrics`);
    expect(response.status).toBe(404);
    expect(await readCode(response)).toBe("not_found");
  });

  test.each([
    `bff_requests_total{${SEND},status="201",code=""} 1`,
    `bff_requests_total{${SEND},status="429",code="rate_limited"} 1`,
    `bff_requests_total{${SEND},status="401",code="session_invalid"} 1`,
    'bff_requests_total{route="unmatched",status="404",code="not_found"} 1',
    'bff_requests_total{route="unparsed",status="400",code="invalid_request"} 1',
    `bff_request_duration_seconds_count{${SEND}} 3`,
    "bff_upstream_duration_seconds_count 1",
    'bff_state_duration_seconds_count{operation="bffAdmit"} 2',
    'bff_state_duration_seconds_count{operation="bffCount"} 1',
    'bff_state_duration_seconds_count{operation="bffSettle"} 1',
    'bff_limited_total{policy="session"} 1',
    'bff_auth_failures_total{reason="invalid"} 1',
    "bff_in_flight 0",
  ])("say %s", (line) => {
    expect(text.split("\n")).toContain(line);
  });

  test.each(["process_cpu_seconds_total", "process_resident_memory_bytes", "nodejs_eventloop_lag"])(
    "tell of the process: %s",
    (name) => {
      expect(text).toMatch(new RegExp(`^${name}`, "m"));
    },
  );

  test("name no subject, chat or path of a client's", () => {
    for (const word of ["subject-7f3a", CHAT, "such-path"]) {
      expect(text).not.toMatch(new RegExp(`="[^"]*${word}[^"]*"`));
    }
    expect(text).not.toContain('="42"');
  });
});

test("recovered and replayed answers are counted as such", async () => {
  const bff = await startWatched({ REDIS_URL: redis.url, REDIS_PREFIX: "at-most-once:" });
  const headers = { "Idempotency-Key": "key-1" };
  emulator.addFault({ kind: "taken-then-status", status: 500 }, { operation: "completion" });
  const recovered = await sendMessage(bff.url, "lost and found", { headers });
  expect([recovered.status, recovered.headers.get("message-recovered")]).toEqual([201, "true"]);
  const replayed = await sendMessage(bff.url, "lost and found", { headers });
  expect([replayed.status, replayed.headers.get("idempotency-replayed")]).toEqual([201, "true"]);
  const lines = (await scrape(bff)).split("\n");
  expect(lines).toContain('bff_recoveries_total{result="recovered"} 1');
  expect(lines).toContain('bff_recoveries_total{result="unknown"} 0');
  expect(lines).toContain("bff_replays_total 1");
  await bff.stop();
});

test("refusals count under the name of their limit, and unknown outcomes as unknown recoveries", async () => {
  const cases = {
    LIMIT_SESSION_DAILY: "session-daily",
    LIMIT_WORKSPACE: "workspace",
    LIMIT_IP: "ip",
  };
  for (const [variable, policy] of Object.entries(cases)) {
    const bff = await startForTest({ [variable]: "1/1h" });
    await sendMessage(bff.url, "one");
    expect((await sendMessage(bff.url, "two")).status).toBe(429);
    const limited = (await scrape(bff))
      .split("\n")
      .filter((line) => line.startsWith("bff_limited"));
    expect(limited).toEqual([`bff_limited_total{policy="${policy}"} 1`]);
  }
  const bff = await startForTest({ LIMIT_AUTH_FAILURES: "1/1h", RECOVERY_WINDOW: "100ms" });
  const wrong = { headers: { Authorization: "Bearer x.y.z" } };
  for (const status of [401, 429]) {
    expect((await sendMessage(bff.url, "wrong", wrong)).status).toBe(status);
  }
  emulator.addFault({ kind: "reset-before" }, { operation: "completion" });
  const lost = await sendMessage(bff.url, "lost", { headers: { "Idempotency-Key": "key-2" } });
  expect(await readCode(lost)).toBe("outcome_unknown");
  const lines = (await scrape(bff)).split("\n");
  expect(lines).toContain('bff_limited_total{policy="auth-failures"} 1');
  expect(lines).toContain('bff_auth_failures_total{reason="invalid"} 1');
  expect(lines).toContain('bff_recoveries_total{result="unknown"} 1');
});

test("messages over MAX_IN_FLIGHT are refused before their body is read, and the gauge shows those inside", async () => {
  const bff = await startForTest({ MAX_IN_FLIGHT: "2" });
  emulator.addFault({ delayMs: 1_000 }, { times: 2 });
  const inside = ["in-1", "in-2"].map((chatId) => {
    emulator.addChat({ chatId, workspaceId: 42 });
    return sendMessage(bff.url, "inside", { chatId });
  });
  await expect.poll(() => emulator.messages().length).toBe(2);
  const refused = await sendMessage(bff.url, "outside");
  expect([refused.status, refused.headers.get("retry-after")]).toEqual([503, "1"]);
  expect(await readCode(refused)).toBe("overloaded");
  const lines = (await scrape(bff)).split("\n");
  expect(lines).toContain("bff_in_flight 2");
  expect(lines).toContain(`bff_requests_total{${SEND},status="503",code="overloaded"} 1`);
  expect((await Promise.all(inside)).map(({ status }) => status)).toEqual([201, 201]);
  expect((await sendMessage(bff.url, "after")).status).toBe(201);
});

test("the number of series does not depend on what clients send", async () => {
  const bff = await startForTest({ ...UNLIMITED, LIMIT_AUTH_FAILURES: "off" });
  const requestAll = async (name: string) => {
    emulator.addChat({ chatId: `chat-${name}`, workspaceId: 42 });
    await sendMessage(bff.url, name, { subject: `subject-${name}`, chatId: `chat-${name}` });
    await sendMessage(bff.url, name, { headers: { Authorization: `Bearer ${name}.x.y` } });
    await fetch(`${bff.url}/${name}/${name}`, { headers: { "X-Request-Id": name } });
    await fetch(`${bff.url}/chat/${name}/send`, { method: "PROPFIND" });
  };
  const count = async () => {
    const lines = (await scrape(bff)).split("\n");
    return lines.filter((line) => line.startsWith("bff_")).length;
  };
  await requestAll("first");
  // The first scrape counts as a request.
  await count();
  const before = await count();
  for (let index = 0; index < 50; index += 1) await requestAll(`other-${index}`);
  expect(await count()).toBe(before);
});

describe("the second listener", () => {
  let bff: Watched;
  beforeAll(async () => {
    bff = await startWatched();
  });
  afterAll(async () => {
    await bff.stop();
  });

  test.each(["/healthz", "/readyz"])("answers %s as the public one does", async (path) => {
    const response = await fetch(bff.adminUrl + path);
    expect(response.status).toBe(200);
    expect(await response.json()).toEqual({ status: "ok" });
  });

  test("serves no route of users", async () => {
    for (const path of [
      "/openapi.json",
      "/session",
      "/chat/chat-1/send",
      "/metrics/",
      "//metrics",
    ]) {
      const response = await fetch(bff.adminUrl + path);
      expect(response.status, path).toBe(404);
    }
    expect((await sendMessage(bff.adminUrl, "hi")).status).toBe(404);
    expect(emulator.messages()).toEqual([]);
  });

  test("keeps the probes at its root where the public routes are below a path", async () => {
    const bff = await startForTest({ BASE_PATH: "/api/chat" });
    for (const probe of ["/healthz", "/readyz"]) {
      expect((await fetch(bff.adminUrl + probe)).status).toBe(200);
      expect((await fetch(`${bff.adminUrl}/api/chat${probe}`)).status).toBe(404);
      expect((await fetch(`${bff.url}/api/chat${probe}`)).status).toBe(200);
    }
    expect((await fetch(`${bff.adminUrl}/healthz`, { method: "HEAD" })).status).toBe(200);
  });

  test("is read, not written", async () => {
    for (const path of ["/metrics", "/healthz", "/readyz"]) {
      const response = await fetch(bff.adminUrl + path, { method: "POST" });
      expect(response.status, path).toBe(405);
      expect(response.headers.get("allow")).toBe("GET, HEAD");
    }
    const head = await fetch(`${bff.adminUrl}/metrics`, { method: "HEAD" });
    expect(head.status).toBe(200);
    expect(await head.text()).toBe("");
  });

  test("is not there unless it is asked for", async () => {
    const plain = await startTestBff(emulator.url);
    await plain.stop();
    const listening = plain.log().find(({ msg }) => msg === "listening");
    expect(listening).toBeDefined();
    expect(listening).not.toHaveProperty("adminPort");
  });

  test("goes on answering while the rest drains, and ends with it", async () => {
    const draining = await startWatched();
    emulator.addFault({ delayMs: 500 });
    const slow = sendMessage(draining.url, "slow");
    await expect.poll(() => emulator.messages().length).toBe(1);
    draining.signal("SIGTERM");
    await draining.waitForLine(({ msg }) => msg === "stopping");
    expect((await fetch(`${draining.adminUrl}/healthz`)).status).toBe(200);
    const ready = await fetch(`${draining.adminUrl}/readyz`);
    expect(ready.status).toBe(503);
    expect(await readCode(ready)).toBe("shutting_down");
    expect(await scrape(draining)).toContain("\nbff_in_flight 1\n");
    expect((await slow).status).toBe(201);
    expect(await draining.exited()).toBe(0);
  });

  test("ends the process with a line that says so where its port is taken", async () => {
    const holder = createServer();
    await new Promise<void>((resolve) => {
      holder.listen(0, "127.0.0.1", resolve);
    });
    const address = holder.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    const more = { HOST: "127.0.0.1", PORT: "0", ADMIN_PORT: String(port) };
    const child = spawnBff(bffEnvironment(emulator.url, more));
    expect(await child.exited()).toBe(1);
    expect(child.log().at(-1)).toMatchObject({ level: "fatal", port, code: "EADDRINUSE" });
    holder.close();
  });
});
