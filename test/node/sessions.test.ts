/**
 * Sessions over real processes: log-out on every instance, key rotation, and revocation by
 * operators.
 */
import { execFile } from "node:child_process";
import { promisify } from "node:util";

import { Redis } from "ioredis";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";

import type { RunningEmulator } from "../../src/emulator/listen.ts";
import {
  bffEnvironment,
  CHAT,
  readCode,
  startTestBff,
  startTestEmulator,
} from "../support/bff-fixture.ts";
import type { BffProcess } from "../support/bff-process.ts";
import { type RedisServer, startRedis } from "../support/redis-server.ts";
import { mintToken } from "../support/session-tokens.ts";

const CLI = new URL("../../dist/cli/main.js", import.meta.url).pathname;

let emulator: RunningEmulator;
let redis: RedisServer;

beforeAll(async () => {
  emulator = await startTestEmulator();
  redis = await startRedis();
});
beforeEach(() => emulator.reset());
afterAll(async () => {
  await redis.kill();
  await emulator.close();
});

function makeKey(): string {
  return Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString("base64url");
}

function send(url: string, headers: Record<string, string>): Promise<Response> {
  return fetch(`${url}/chat/${CHAT}/send`, {
    method: "POST",
    headers: { "Content-Type": "application/json", "Sec-Fetch-Site": "same-origin", ...headers },
    body: '{"content":"hi"}',
  });
}

async function logIn(url: string, token: string): Promise<{ Cookie: string }> {
  const answer = await fetch(`${url}/session`, {
    method: "POST",
    headers: { Authorization: `Bearer ${token}` },
  });
  expect(answer.status).toBe(201);
  const setCookie = answer.headers.get("set-cookie") ?? "";
  return { Cookie: setCookie.slice(0, setCookie.indexOf(";")) };
}

function restart(keys: string): Promise<BffProcess> {
  return startTestBff(emulator.url, { REDIS_URL: redis.url, COOKIE_KEYS: keys });
}

async function revoke(...args: string[]): Promise<string> {
  const env = {
    PATH: process.env["PATH"],
    ...bffEnvironment(emulator.url, { REDIS_URL: redis.url }),
  };
  const { stdout } = await promisify(execFile)(process.execPath, [CLI, "revoke", ...args], { env });
  return stdout;
}

test("a logout on one instance is known to the other on the next request", async () => {
  const settings = { REDIS_URL: redis.url, COOKIE_KEYS: makeKey() };
  const [one, two] = await Promise.all([
    startTestBff(emulator.url, settings),
    startTestBff(emulator.url, settings),
  ]);
  try {
    const token = await mintToken({ sub: "leaver", sid: "login" });
    const cookie = await logIn(one.url, token);
    expect((await send(two.url, cookie)).status).toBe(201);
    expect((await send(two.url, { Authorization: `Bearer ${token}` })).status).toBe(201);

    const ended = await fetch(`${one.url}/session`, {
      method: "DELETE",
      headers: { ...cookie, "Sec-Fetch-Site": "same-origin" },
    });
    expect(ended.status).toBe(204);
    for (const headers of [cookie, { Authorization: `Bearer ${token}` }]) {
      const refused = await send(two.url, headers);
      expect(refused.status).toBe(401);
      expect(await readCode(refused)).toBe("session_revoked");
    }
    expect(emulator.messages()).toEqual([expect.objectContaining({ taken: 2 })]);
  } finally {
    await Promise.all([one.stop(), two.stop()]);
  }
});

test("cookies survive a rotation of the keys over a restart, and end when their key is removed", async () => {
  const [oldKey, newKey] = [makeKey(), makeKey()];
  // The chat belongs to the first subject in this file that used it.
  const token = await mintToken({ sub: "leaver" });

  const first = await restart(oldKey);
  const cookie = await logIn(first.url, token);
  await first.stop();

  const second = await restart(`${newKey},${oldKey}`);
  expect((await send(second.url, cookie)).status).toBe(201);
  const fresh = await logIn(second.url, token);
  await second.stop();

  const third = await restart(newKey);
  try {
    const refused = await send(third.url, cookie);
    expect(refused.status).toBe(401);
    expect(await readCode(refused)).toBe("session_invalid");
    expect((await send(third.url, fresh)).status).toBe(201);
  } finally {
    await third.stop();
  }
});

test("an operator can end all sessions of a subject, then those of all subjects; later sessions are valid", async () => {
  const bff = await startTestBff(emulator.url, { REDIS_URL: redis.url, CHAT_ACCESS: "workspace" });
  try {
    const nowSeconds = Math.floor(Date.now() / 1_000);
    const statusOf = async (sub: string, iat: number | undefined) =>
      (await send(bff.url, { Authorization: `Bearer ${await mintToken({ sub, iat })}` })).status;
    expect(await statusOf("ann", nowSeconds - 5)).toBe(201);

    expect(await revoke("--subject", "ann")).toContain("The subject's sessions");
    expect(await statusOf("ann", nowSeconds - 5)).toBe(401);
    expect(await statusOf("ann", undefined)).toBe(401);
    expect(await statusOf("bob", nowSeconds - 5)).toBe(201);
    // Within the clock tolerance: the token may have been issued before the revocation.
    expect(await statusOf("ann", nowSeconds + 20)).toBe(401);
    const client = new Redis(redis.url);
    /** Dates a revocation back by 40 seconds. @returns its remaining life */
    const age = async (pattern: string): Promise<number> => {
      for (const key of await client.keys(pattern)) {
        const [untilMs = "", ...rest] = ((await client.get(key)) ?? "").split(" ");
        if (untilMs === "0") continue;
        await client.set(key, [Number(untilMs) - 40_000, ...rest].join(" "), "KEEPTTL");
        return client.pttl(key);
      }
      return 0;
    };
    await age("bff:{ws:42}:u:*");
    expect(await statusOf("ann", nowSeconds + 20)).toBe(201);

    // A second, shorter revocation does not shorten the first: Redis keeps the longer life.
    await revoke("--subject", "ann", "--for", "1s");
    expect(await age("bff:{ws:42}:u:*")).toBeGreaterThan(86_400_000);

    expect(await revoke("--all", "--for", "1h")).toContain("All sessions");
    expect(await statusOf("bob", nowSeconds - 5)).toBe(401);
    expect(await statusOf("bob", nowSeconds + 25)).toBe(401);
    await age("bff:{ws:42}:w2");
    expect(await statusOf("bob", nowSeconds + 25)).toBe(201);
    client.disconnect();
  } finally {
    await bff.stop();
  }
});
