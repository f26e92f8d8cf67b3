/**
 * Keys and values in Redis after many kinds of requests: only those of `docs/state-keys.md`, no
 * secret.
 */
import { readFile } from "node:fs/promises";

import { Redis } from "ioredis";
import { expect, test } from "vitest";

import { ask, startTestBff, startTestEmulator } from "../support/bff-fixture.ts";
import { createTestChat, tell } from "../support/chat-fixture.ts";
import { startRedis } from "../support/redis-server.ts";

/**
 * Part of all contents, idempotency keys and subjects here, but not of the answers, which are
 * stored.
 */
const PRIVATE = "pineapple";

const ANSWER = JSON.stringify({ messages: [{ role: "assistant", content: "Of course." }] });

const PLACEHOLDERS: Readonly<Record<string, string>> = {
  subject: "[\\w-]{22}",
  session: "[\\w-]{22}",
  key: "[\\w-]{22}",
  address: "[0-9a-f.:/]+",
  "chat id": "[\\w-]{1,128}",
};

/** The first column of the table in the docs, as patterns. */
async function readDocumentedKeys(): Promise<RegExp[]> {
  const page = await readFile(new URL("../../docs/state-keys.md", import.meta.url), "utf8");
  return [...page.matchAll(/^\| `(bff:[^`]+)`/gm)].map(([, name = ""]) => {
    const pattern = name
      .replaceAll(/[{}]/g, "\\$&")
      .replace("42", "\\d+")
      .replaceAll(/<([^>]+)>/g, (_whole, placeholder: string) => {
        const found = PLACEHOLDERS[placeholder];
        if (found === undefined) throw new Error(`docs/state-keys.md: what is <${placeholder}>?`);
        return found;
      });
    return new RegExp(`^${pattern}$`);
  });
}

test("every key is documented and expires, and none holds content, a client's key or a subject", async () => {
  const documented = await readDocumentedKeys();
  const [emulator, redis] = await Promise.all([startTestEmulator(), startRedis()]);
  const admin = new Redis(redis.url);
  const monitor = await new Redis(redis.url).monitor();
  const commands: string[][] = [];
  monitor.on("monitor", (_time: string, args: string[]) => void commands.push(args));
  const bff = await startTestBff(emulator.url, {
    REDIS_URL: redis.url,
    REDIS_TIMEOUT: "3s",
    UPSTREAM_TIMEOUT: "2s",
    RECOVERY_WINDOW: "1s",
    UPONAI_AGENT_ID: "agent",
    // Long windows, so that the keys still exist when they are checked.
    LIMIT_SESSION: "100/1h",
    LIMIT_SESSION_DAILY: "100/1d",
    LIMIT_WORKSPACE: "100/1h",
    LIMIT_IP: "100/1h",
    LIMIT_AUTH_FAILURES: "100/1h",
  });
  const seen = new Set<string>();
  const inspect = async () => {
    for (const key of await admin.keys("*")) {
      const kind = documented.findIndex((pattern) => pattern.test(key));
      expect(kind, `${key} is documented`).not.toBe(-1);
      seen.add(/^bff:\{(?:ws:\d+\}:)?(\w+)/.exec(key)?.[1] ?? key);
      // 0 or -2: the key has expired by now.
      expect(await admin.pttl(key), `${key} expires`).not.toBe(-1);
      expect(`${key} ${await admin.get(key)}`).not.toContain(PRIVATE);
    }
  };
  try {
    const subject = `${PRIVATE}-subject`;
    const key = `${PRIVATE}-key`;
    const chat = createTestChat(emulator);
    const send = (words: string, name = "") =>
      tell(chat.send(bff.url, `${PRIVATE} ${words}`, { subject, key: `${key}${name}` }));

    chat.addFault({ kind: "body", body: ANSWER, delayMs: 300 });
    const first = send("first");
    await expect.poll(() => chat.counts(`${PRIVATE} first`).arrived).toBe(1);
    await inspect();
    expect(await first).toMatchObject({ status: 201 });
    expect(await send("first")).toMatchObject({ status: 201, replayed: true });
    chat.addFault({ kind: "reset-before" });
    expect(await send("lost", "-lost")).toMatchObject({ status: 504, code: "outcome_unknown" });
    chat.addFault({ kind: "body", body: ANSWER });
    expect(await send("lost", "-again")).toMatchObject({ status: 201 });
    expect(await tell(chat.send(bff.url, PRIVATE, { subject: `${PRIVATE}-other` }))).toMatchObject({
      status: 404,
    });
    const started = await ask(bff.url, "POST /chat", { subject });
    expect(started.status).toBe(201);
    expect((await ask(bff.url, `GET /chat/${chat.chatId}`, { subject })).status).toBe(200);
    const wrong = { subject, headers: { Authorization: `Bearer ${PRIVATE}` } };
    expect((await ask(bff.url, `GET /chat/${chat.chatId}`, wrong)).status).toBe(401);
    expect((await ask(bff.url, "DELETE /session", { subject })).status).toBe(204);
    expect((await fetch(`${bff.url}/readyz`)).status).toBe(200);
    await inspect();

    // There was at least one key of each kind.
    expect([...seen].toSorted()).toEqual(
      ["a", "af", "c2", "k", "probe", "r", "u", "w2"].toSorted(),
    );
    const told = JSON.stringify(commands);
    expect(commands.length).toBeGreaterThan(20);
    expect(told).not.toContain(PRIVATE);
    expect(told).not.toContain(Buffer.from(PRIVATE).toString("base64").slice(0, 11));
    expect(bff.lines.join("\n")).not.toContain(PRIVATE);
  } finally {
    await bff.stop();
    monitor.disconnect();
    admin.disconnect();
    await redis.kill();
    await emulator.close();
  }
});
