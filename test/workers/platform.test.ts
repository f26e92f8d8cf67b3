/**
 * Behaviour specific to Workers: isolates, sockets that belong to a request, errors at the first
 * request.
 */
import { once } from "node:events";
import { createServer } from "node:http";
import { connect, createServer as createTcpServer, type Socket } from "node:net";

import { Redis } from "ioredis";
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import { afterEach, describe, expect, test } from "vitest";

import {
  bearer,
  type Fixture,
  readCode,
  type Runtime,
  startFixture,
} from "../conformance/runtime.ts";
import { AUDIENCE, ISSUER, sessionSecret } from "../support/session-tokens.ts";
import { findFreePort } from "../support/ports.ts";
import { readRules } from "../support/redis-rights.ts";
import { startRedis } from "../support/redis-server.ts";
import { startWorker } from "../support/worker-process.ts";

const workers: Runtime = {
  start: startWorker,
  addressHeaders: (address) => ({ "CF-Connecting-IP": address }),
  tellsUnsent: false,
  skipsContinue: true,
};

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end();
});

async function start(environment: Record<string, string>): Promise<Fixture> {
  const fixture = await startFixture(workers, environment);
  ends.push(() => fixture.stop());
  return fixture;
}

describe("Redis", () => {
  test("has one connection per request, and none when all are answered", async () => {
    const redis = await startRedis();
    ends.push(() => redis.kill());
    const { send } = await start({ REDIS_URL: redis.url });
    const before = await readInfo(redis.port, "total_connections_received");
    const answers = await Promise.all(
      Array.from({ length: 30 }, (_, index) => send({ sub: `user-${index}` })),
    );
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([201]));
    // The connection that runs INFO counts as well.
    expect((await readInfo(redis.port, "total_connections_received")) - before).toBe(31);
    await expect.poll(() => readInfo(redis.port, "connected_clients"), { timeout: 5_000 }).toBe(1);
  });

  test("stores the answer to a message that goes on after its 202, over the connection of its request", async () => {
    const redis = await startRedis();
    ends.push(() => redis.kill());
    const { send, createChat, emulator } = await start({ REDIS_URL: redis.url });
    const chatId = createChat();
    const message = { sub: "patient", chatId, content: '!fault {"delayMs":1500}\nslow' };
    const ask = (Prefer: string) =>
      send({ ...message, headers: { "Idempotency-Key": "key", Prefer } });
    const before = await readInfo(redis.port, "total_connections_received");
    const accepted = await ask("respond-async");
    expect(accepted.status).toBe(202);
    await accepted.arrayBuffer();
    // Not recovered from the transcript: the message itself has stored its answer.
    const answer = await ask("respond-async, wait=55");
    expect([answer.status, answer.headers.get("idempotency-replayed")]).toEqual([201, "true"]);
    expect(answer.headers.get("message-recovered")).toBeNull();
    // One for each request, also while its message goes on, and the one that runs INFO.
    expect((await readInfo(redis.port, "total_connections_received")) - before).toBe(3);
    await expect.poll(() => readInfo(redis.port, "connected_clients"), { timeout: 5_000 }).toBe(1);
    expect(emulator.messages({ chatId })).toMatchObject([{ arrived: 1, taken: 1 }]);
  });

  test("that closes connections while a message is in progress is connected to again", async () => {
    const redis = await startRedis();
    ends.push(() => redis.kill());
    const { send, createChat, emulator, service } = await start({ REDIS_URL: redis.url });
    const chatId = createChat();
    const content = '!fault {"delayMs":500}';
    const sending = send({ chatId, content });
    await expect
      .poll(() => emulator.messages({ chatId }).length, { interval: 10, timeout: 5_000 })
      .toBe(1);
    const operator = new Redis(redis.port, "127.0.0.1");
    expect(await operator.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")).toBe(1);
    operator.disconnect();
    expect((await sending).status).toBe(201);
    expect((await send({ chatId })).status).toBe(201);
    expect(service.lines().join("\n")).not.toContain("was not settled");
  });

  test("that hangs is 503 within its time limit, spends nothing, and is logged once", async () => {
    const redis = await startRedis();
    ends.push(() => redis.kill());
    const { send, service, emulator } = await start({ REDIS_URL: redis.url });
    expect((await send({ sub: "patient" })).status).toBe(201);
    redis.pause();
    const startedMs = performance.now();
    const answers = await Promise.all(Array.from({ length: 5 }, () => send({ sub: "patient" })));
    expect(performance.now() - startedMs).toBeLessThan(2_000);
    for (const answer of answers) {
      expect(answer.status).toBe(503);
      expect(await readCode(answer)).toBe("state_unavailable");
    }
    expect(emulator.requests()).toHaveLength(1);
    redis.resume();
    const again = await send({ sub: "patient" });
    expect(again.status).toBe(201);
    expect(again.headers.get("ratelimit")).toContain('"session";r=18');
    const told = service.lines().filter((line) => line.includes("state is unreachable"));
    expect(told.length).toBeLessThanOrEqual(1);
  });

  test("that hangs for long, or does not exist, is logged as well", async () => {
    const silent = await listen((socket) => socket.resume());
    const talker = await listen((socket) => socket.write("HTTP/1.1 400 Bad Request\r\n\r\n"));
    for (const port of [silent, talker]) {
      const { send, service } = await start({ REDIS_URL: `redis://127.0.0.1:${port}` });
      expect(await readCode(await send())).toBe("state_unavailable");
      const told = () => service.lines().filter((line) => line.includes("state is unreachable"));
      await expect.poll(told, { timeout: 5_000 }).toHaveLength(1);
    }
  });

  test("that grants only the rights in docs/redis.md works; one that denies a part is logged as NOPERM", async () => {
    const redis = await startRedis();
    ends.push(() => redis.kill());
    const admin = new Redis(redis.port, "127.0.0.1");
    const rules = readRules("bff");
    const define = (user: string, granted: readonly string[]) =>
      admin.call("ACL", "SETUSER", user, "on", ">user-canary", ...granted);
    const urlOf = (user: string) => `redis://${user}:user-canary@127.0.0.1:${redis.port}`;
    await define("full", rules);
    const full = await start({ REDIS_URL: urlOf("full") });
    expect((await full.send()).status).toBe(201);
    expect((await full.ask("/readyz")).status).toBe(200);
    const headers = await bearer({ sub: "leaver" });
    expect((await full.ask("/session", { method: "DELETE", headers })).status).toBe(204);
    expect(await readCode(await full.ask("/session", { headers }))).toBe("session_revoked");
    expect(full.service.lines().join("\n")).not.toContain("state is unreachable");
    expect(await admin.call("ACL", "LOG")).toEqual([]);

    for (const missing of ["+evalsha", "+pttl", "~bff:*"]) {
      const user = `lacks${missing.replaceAll(/\W/g, "-")}`;
      await define(
        user,
        rules.filter((rule) => rule !== missing),
      );
      const { ask, service } = await start({ REDIS_URL: urlOf(user) });
      expect(await readCode(await ask("/readyz"))).toBe("state_unavailable");
      expect(service.lines().join("\n")).toContain("NOPERM");
    }
    admin.disconnect();
  });

  test("that is down is 503 and back as soon as it is", async () => {
    const redis = await startRedis();
    ends.push(() => redis.kill());
    const { send, ask, service } = await start({ REDIS_URL: redis.url });
    await redis.kill();
    expect(await readCode(await send())).toBe("state_unavailable");
    expect(await readCode(await ask("/readyz"))).toBe("state_unavailable");
    const told = service.lines().filter((line) => line.includes("state is unreachable"));
    expect(told).toHaveLength(1);
    await redis.start();
    expect((await send()).status).toBe(201);
    await expect.poll(async () => (await ask("/readyz")).status).toBe(200);
  });
});

test("a connection that is reset does not stop its message: its answer is kept for its key", async () => {
  const { send, createChat, emulator, service } = await start({});
  const chatId = createChat();
  const content = '!fault {"delayMs":1000}\nreset';
  const body = JSON.stringify({ content });
  const { Authorization } = await bearer({ sub: "reset" });
  const socket = connect(Number(new URL(service.url).port), "127.0.0.1");
  const head = [
    `POST /chat/${chatId}/send HTTP/1.1`,
    "Host: bff.test",
    `Authorization: ${Authorization}`,
    "Content-Type: application/json",
    "Idempotency-Key: reset-1",
    `Content-Length: ${body.length}`,
  ];
  socket.write(`${head.join("\r\n")}\r\n\r\n${body}`);
  const messages = () => emulator.messages({ chatId });
  await expect.poll(() => messages().length, { interval: 10, timeout: 5_000 }).toBe(1);
  // A reset, not a half-close: a client that waits for its answer may close its sending side.
  socket.resetAndDestroy();
  await expect.poll(() => messages()[0]?.taken, { interval: 50, timeout: 5_000 }).toBe(1);
  const headers = { "Idempotency-Key": "reset-1" };
  const again = () => send({ sub: "reset", chatId, content, headers });
  await expect
    .poll(async () => (await again()).headers.get("idempotency-replayed"), { timeout: 5_000 })
    .toBe("true");
  expect(messages()).toMatchObject([{ arrived: 1, taken: 1 }]);
});

test("session keys are fetched once by an isolate, however many requests wait for them", async () => {
  const { privateKey, publicKey } = await generateKeyPair("ES256");
  const jwk = { ...(await exportJWK(publicKey)), kid: "k1", alg: "ES256" };
  let fetched = 0;
  const issuer = createServer((_request, response) => {
    fetched += 1;
    setTimeout(() => response.end(JSON.stringify({ keys: [jwk] })), 300);
  });
  const port = await findFreePort();
  issuer.listen(port, "127.0.0.1");
  ends.push(() => issuer.close());
  const { send, ask } = await start({
    SESSION_SECRET: "",
    SESSION_JWKS_URL: `http://127.0.0.1:${port}/jwks.json`,
  });
  const sign = async (kid: string) => {
    const token = await new SignJWT({ workspace: "acme" })
      .setProtectedHeader({ alg: "ES256", kid })
      .setIssuer(ISSUER)
      .setAudience(AUDIENCE)
      .setSubject("many")
      .setExpirationTime("5m")
      .sign(privateKey);
    return { Authorization: `Bearer ${token}` };
  };
  const headers = await sign("k1");
  const answers = await Promise.all(Array.from({ length: 10 }, () => send({ headers })));
  expect(answers.map(({ status }) => status)).toEqual(Array.from({ length: 10 }, () => 201));
  expect(fetched).toBe(1);

  // More than LIMIT_AUTH_FAILURES, from one address: a key that the issuer may have added since is
  // no wrong credential, and does not cause a fetch each time.
  for (let index = 0; index < 10; index += 1) {
    const unknown = await ask("/session", {
      address: "192.0.2.9",
      headers: await sign(`unknown-${index}`),
    });
    expect(unknown.status).toBe(503);
    const seconds = Number(unknown.headers.get("retry-after"));
    expect(seconds).toBeGreaterThanOrEqual(1);
    expect(seconds).toBeLessThanOrEqual(30);
    expect(await readCode(unknown)).toBe("auth_unavailable");
  }
  expect((await ask("/session", { address: "192.0.2.9", headers })).status).toBe(200);
  expect(fetched).toBe(1);
});

test("a wrong configuration is answered 500 and logged without secrets", async () => {
  const { ask, service } = await start({ SESSION_SECRET: "canary-short", LIMIT_IP: "often" });
  const answer = await ask("/healthz");
  expect(answer.status).toBe(500);
  expect(answer.headers.get("cache-control")).toBe("no-store");
  expect(await readCode(answer)).toBe("internal_error");
  const told = service.lines().map((line) => JSON.parse(line) as Record<string, unknown>);
  expect(told.map(({ level, variable }) => [level, variable])).toEqual(
    expect.arrayContaining([
      ["fatal", "SESSION_SECRET"],
      ["fatal", "LIMIT_IP"],
    ]),
  );
});

test("stray characters around values are no part of them", async () => {
  const { send, service } = await start({
    SESSION_SECRET: `${sessionSecret}\n`,
    SESSION_ISSUER: `"${ISSUER}"`,
    SESSION_AUDIENCE: `${AUDIENCE}\r\n`,
  });
  expect((await send()).status).toBe(201);
  const log = () => service.lines().join("\n");
  await expect
    .poll(log, { timeout: 5_000 })
    .toMatch(/SESSION_SECRET had line breaks[\s\S]*In quotes, which were removed: SESSION_ISSUER/);
});

test("quotes around NODE_ENV do not switch the checks for production off", async () => {
  const { ask, service } = await start({ NODE_ENV: "'production'", COOKIE_INSECURE: "true" });
  expect((await ask("/healthz")).status).toBe(500);
  await expect
    .poll(() => service.lines().join("\n"), { timeout: 5_000 })
    .toContain("COOKIE_INSECURE must be off in production");
});

test("faults in WORKSPACES are reported by position, without its keys", async () => {
  const { ask, service } = await start({
    UPONAI_WORKSPACE_ID: "",
    WORKSPACES: '{"acme":1,"claim-canary":{"id":2,"member-canary":3}}',
  });
  expect((await ask("/healthz")).status).toBe(500);
  await expect
    .poll(() => service.lines().join("\n"), { timeout: 5_000 })
    .toContain("WORKSPACES entry 2: ");
});

test("the state cannot be in memory, which no two isolates share", async () => {
  const { ask, service } = await start({ STATE: "memory" });
  expect((await ask("/healthz")).status).toBe(500);
  expect(service.lines().join("\n")).toContain("STATE cannot be memory here");
});

/** Opens a port and calls `greet` with each connection. */
async function listen(greet: (socket: Socket) => void): Promise<number> {
  const sockets = new Set<Socket>();
  const server = createTcpServer((socket) => {
    sockets.add(socket);
    // The other side may close the connection in any way.
    socket.on("error", () => undefined);
    greet(socket);
  });
  const port = await findFreePort();
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  ends.push(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return port;
}

/** Reads one number of Redis's `INFO`. */
async function readInfo(port: number, name: string): Promise<number> {
  const redis = new Redis(port, "127.0.0.1");
  const info = await redis.info();
  redis.disconnect();
  return Number(new RegExp(`${name}:(\\d+)`).exec(info)?.[1]);
}
