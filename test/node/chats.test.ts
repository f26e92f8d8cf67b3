/**
 * Ownership of chats over real processes, a real Redis and the emulator: by starting a chat, by
 * first use, and after the state was lost. Other subjects get the same 404 as for a chat that does
 * not exist.
 */
import { Redis } from "ioredis";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";

import type { RunningEmulator } from "../../src/emulator/listen.ts";
import { ask, sendMessage, startTestBff, startTestEmulator } from "../support/bff-fixture.ts";
import type { BffProcess } from "../support/bff-process.ts";
import { createTestChat, tell } from "../support/chat-fixture.ts";
import { type RedisServer, startRedis } from "../support/redis-server.ts";

const AGENT = "agent-7";

let emulator: RunningEmulator;
let redis: RedisServer;
let admin: Redis;

beforeAll(async () => {
  [emulator, redis] = await Promise.all([startTestEmulator(), startRedis()]);
  admin = new Redis(redis.url);
});
beforeEach(async () => {
  emulator.reset();
  await admin.flushall();
});
afterAll(async () => {
  admin.disconnect();
  await redis.kill();
  await emulator.close();
});

function startInstance(more: Record<string, string> = {}): Promise<BffProcess> {
  return startTestBff(emulator.url, { REDIS_URL: redis.url, REDIS_TIMEOUT: "3s", ...more });
}

interface StartedChat {
  readonly chatId: string;
}

async function startChat(url: string, subject: string, body?: unknown): Promise<StartedChat> {
  const answer = await ask(url, "POST /chat", { subject, body });
  expect(answer.status).toBe(201);
  const chat = (await answer.json()) as StartedChat;
  expect(answer.headers.get("location")).toBe(`/chat/${chat.chatId}`);
  return chat;
}

/** All operations on a chat. */
const uses = {
  "a read": (url: string, chatId: string, subject: string) =>
    ask(url, `GET /chat/${chatId}`, { subject }),
  "an end": (url: string, chatId: string, subject: string) =>
    ask(url, `POST /chat/${chatId}/end`, { subject }),
  "a message": (url: string, chatId: string, subject: string) =>
    sendMessage(url, "mine now", { subject, chatId }),
  "a message with a key": (url: string, chatId: string, subject: string) =>
    sendMessage(url, "mine now", { subject, chatId, headers: { "Idempotency-Key": "k" } }),
};

const notFound = { status: 404, code: "chat_not_found" };

async function expectDenied(url: string, chatId: string, subject: string): Promise<void> {
  for (const [use, run] of Object.entries(uses)) {
    expect({ use, ...(await tell(run(url, chatId, subject))) }).toMatchObject({ use, ...notFound });
  }
}

describe("a chat that was started", () => {
  const modes = [{ CHAT_ACCESS: "first-use" }, { CHAT_ACCESS: "claim" }];

  test.each(modes)("belongs to the subject that started it alone, under %j", async (mode) => {
    const bff = await startInstance({
      ...mode,
      UPONAI_AGENT_ID: AGENT,
      CHAT_METADATA: "page",
      CHAT_VARIABLES: "name",
    });
    try {
      const started = await startChat(bff.url, "starter", {
        metadata: { page: "pricing" },
        variables: { name: "Ann" },
      });
      expect(Object.keys(started).toSorted()).toEqual([
        "chatId",
        "messages",
        "startedAt",
        "status",
      ]);
      const { chatId } = started;
      const [creation] = emulator.requests();
      expect(JSON.parse(creation?.body ?? "")).toEqual({
        workspaceId: 42,
        agent_id: AGENT,
        metadata: { page: "pricing", uponai_bff_owner: expect.stringMatching(/^[\w-]{22,}$/) },
        uponai_dynamic_variables: { name: "Ann" },
      });
      const asked = emulator.requests().length;
      await expectDenied(bff.url, chatId, "somebody-else");
      expect(emulator.requests()).toHaveLength(asked);

      const sent = await sendMessage(bff.url, "Hello", { subject: "starter", chatId });
      expect(sent.status).toBe(201);
      const read = await ask(bff.url, `GET /chat/${chatId}`, { subject: "starter" });
      expect(await read.json()).toEqual({
        chatId,
        status: "ongoing",
        startedAt: expect.any(String),
        endedAt: null,
        messages: [
          { role: "assistant", content: "Hello, how can I help?" },
          { role: "user", content: "Hello" },
          { role: "assistant", content: "You said: Hello" },
        ],
      });

      const end = `POST /chat/${chatId}/end` as const;
      expect((await ask(bff.url, end, { subject: "starter" })).status).toBe(204);
      expect((await ask(bff.url, end, { subject: "starter" })).status).toBe(204);
      const late = sendMessage(bff.url, "too late", { subject: "starter", chatId });
      expect(await tell(late)).toMatchObject({ status: 409, code: "chat_ended" });
      await expectDenied(bff.url, chatId, "somebody-else");
      expect(bff.lines.join("\n")).not.toContain(chatId);
    } finally {
      await bff.stop();
    }
  });

  test.each(modes)("is still its starter's when Redis was flushed, under %j", async (mode) => {
    const bff = await startInstance({ ...mode, UPONAI_AGENT_ID: AGENT });
    try {
      for (const [use, run] of Object.entries(uses)) {
        const { chatId } = await startChat(bff.url, "starter");
        await admin.flushall();
        await expectDenied(bff.url, chatId, "somebody-else");
        expect(emulator.messages({ chatId })).toEqual([]);
        await admin.flushall();
        const answer = await run(bff.url, chatId, "starter");
        expect([use, answer.ok]).toEqual([use, true]);
        expect(answer.headers.get("ratelimit")).toContain('"session";r=19');
        expect(await admin.get(`bff:{ws:42}:c2:${chatId}`)).toMatch(/^s /);
        const asked = emulator.requests().length;
        await expectDenied(bff.url, chatId, "somebody-else");
        expect(emulator.requests()).toHaveLength(asked);
      }
    } finally {
      await bff.stop();
    }
  });

  test("is not given to another subject that asks many times at once after a flush", async () => {
    const bff = await startInstance({ UPONAI_AGENT_ID: AGENT });
    try {
      const { chatId } = await startChat(bff.url, "starter");
      await admin.flushall();
      // The first request is the provisional owner until the stamp of the chat was read. The others
      // must wait for that as well.
      emulator.addFault({ delayMs: 100 }, { operation: "get", times: 100 });
      const answers = Object.values(uses).flatMap((run) =>
        [1, 2, 3].map(() => tell(run(bff.url, chatId, "somebody-else"))),
      );
      for (const answer of await Promise.all(answers)) {
        expect([404, 409]).toContain(answer.status);
        expect(["chat_not_found", "chat_busy", "request_in_progress"]).toContain(answer.code);
      }
      expect(emulator.messages({ chatId })).toEqual([]);
      expect(emulator.requests().some(({ path }) => path.endsWith("/end"))).toBe(false);
      emulator.clearFaults();
      expect((await ask(bff.url, `GET /chat/${chatId}`, { subject: "starter" })).status).toBe(200);
    } finally {
      await bff.stop();
    }
  });

  test.each(Object.entries(uses))(
    "is not given to another subject after a flush and %s that UponAI failed to confirm",
    async (_use, run) => {
      const bff = await startInstance({ UPONAI_AGENT_ID: AGENT });
      try {
        const { chatId } = await startChat(bff.url, "starter");
        await admin.flushall();
        emulator.addFault({ kind: "status", status: 500 }, { operation: "get" });
        const failed = await tell(run(bff.url, chatId, "somebody-else"));
        expect(failed).toMatchObject({ status: 502, code: "upstream_error" });
        // The provisional owner that is left counts neither for this subject nor against the other
        // one.
        const read = ask(bff.url, `GET /chat/${chatId}`, { subject: "starter" });
        expect((await read).status).toBe(200);
        await expectDenied(bff.url, chatId, "somebody-else");
        expect(emulator.messages({ chatId })).toEqual([]);
      } finally {
        await bff.stop();
      }
    },
  );

  test("is still denied after such a failure when its starter has not come back", async () => {
    const bff = await startInstance({ UPONAI_AGENT_ID: AGENT });
    try {
      const { chatId } = await startChat(bff.url, "starter");
      await admin.flushall();
      emulator.addFault({ kind: "status", status: 500 }, { operation: "get" });
      await ask(bff.url, `GET /chat/${chatId}`, { subject: "somebody-else" });
      await expectDenied(bff.url, chatId, "somebody-else");
      expect(emulator.messages({ chatId })).toEqual([]);
    } finally {
      await bff.stop();
    }
  });
});

describe("a chat that was not started here", () => {
  test.each([{}, { UPONAI_AGENT_ID: AGENT }])(
    "belongs to the first of fifty concurrent subjects on two instances, with %j",
    async (more) => {
      const settings = { ...more, LIMIT_IP: "off", LIMIT_WORKSPACE: "off" };
      const [one, two] = await Promise.all([startInstance(settings), startInstance(settings)]);
      try {
        const chat = createTestChat(emulator);
        chat.addFault({ delayMs: 100 });
        const subjects = Array.from({ length: 50 }, (_, index) => `racer-${index}`);
        const answers = await Promise.all(
          subjects.map((subject, index) =>
            tell(chat.send(index % 2 === 0 ? one.url : two.url, `from ${subject}`, { subject })),
          ),
        );
        const winners = subjects.filter((_, index) => answers[index]?.status === 201);
        expect(winners).toHaveLength(1);
        for (const answer of answers.filter(({ status }) => status !== 201)) {
          expect(answer).toMatchObject(notFound);
        }
        const { chatId } = chat;
        const messages = emulator.messages({ chatId });
        expect(messages).toEqual([{ chatId, content: `from ${winners[0]}`, arrived: 1, taken: 1 }]);
        for (const [index, subject] of subjects.entries()) {
          const { url } = index % 2 === 0 ? two : one;
          const read = await ask(url, `GET /chat/${chatId}`, { subject });
          expect([subject, read.status]).toEqual([subject, winners.includes(subject) ? 200 : 404]);
        }
      } finally {
        await Promise.all([one.stop(), two.stop()]);
      }
    },
  );

  test("is denied to all subjects under CHAT_ACCESS=claim, and no call reaches it", async () => {
    const bff = await startInstance({ CHAT_ACCESS: "claim", UPONAI_AGENT_ID: AGENT });
    try {
      const { chatId } = createTestChat(emulator);
      await expectDenied(bff.url, chatId, "anybody");
      expect(emulator.requests().filter(({ method }) => method !== "GET")).toEqual([]);
      const listed = { subject: "listed", claims: { chats: [chatId] } };
      expect((await ask(bff.url, `GET /chat/${chatId}`, listed)).status).toBe(200);
    } finally {
      await bff.stop();
    }
  });
});

describe("the chat of another subject and one that does not exist", () => {
  const PAIRS = 15;
  const UPSTREAM_MS = 60;

  test.each([
    [{}, "sent"],
    [{}, "read"],
    [{ UPONAI_AGENT_ID: AGENT }, "sent"],
    [{ UPONAI_AGENT_ID: AGENT }, "read"],
    [{ UPONAI_AGENT_ID: AGENT, CHAT_ACCESS: "claim" }, "sent"],
    [{ UPONAI_AGENT_ID: AGENT, CHAT_ACCESS: "claim" }, "read"],
  ] as const)("are answered alike, byte for byte, with %j, %s", async (more, way) => {
    const unlimited = { LIMIT_IP: "off", LIMIT_WORKSPACE: "off", LIMIT_SESSION: "100/1h" };
    const bff = await startInstance({ ...unlimited, ...more });
    try {
      const foreignId = await prepareForeign(bff.url, "UPONAI_AGENT_ID" in more);
      emulator.addFault({ delayMs: UPSTREAM_MS }, { times: 1_000 });
      const guess = (chatId: string, subject: string) =>
        way === "sent"
          ? sendMessage(bff.url, "guess", { subject, chatId })
          : ask(bff.url, `GET /chat/${chatId}`, { subject });
      const absentMs: number[] = [];
      const foreignMs: number[] = [];
      for (let pair = 0; pair < PAIRS; pair += 1) {
        // Two subjects, so that their remaining limits can be compared as well.
        const absent = await observe(absentMs, () => guess(`absent-${pair}`, "guesser-1"));
        const foreign = await observe(foreignMs, () => guess(foreignId, "guesser-2"));
        expect(foreign).toEqual(absent);
        expect(foreign).toMatchObject({ status: 404 });
      }
      // A refusal without a call to UponAI takes as long as one with a call: never at once.
      expect(median(foreignMs)).toBeGreaterThan(UPSTREAM_MS * 0.8);
      expect(emulator.messages({ chatId: foreignId })).toHaveLength(1);
    } finally {
      await bff.stop();
    }
  });
});

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}

async function prepareForeign(url: string, startable: boolean): Promise<string> {
  const chatId = startable
    ? (await startChat(url, "owner")).chatId
    : createTestChat(emulator).chatId;
  expect((await sendMessage(url, "mine", { subject: "owner", chatId })).status).toBe(201);
  return chatId;
}

/** All of an answer but the request id, and its duration. */
async function observe(timesMs: number[], answering: () => Promise<Response>) {
  const startedMs = performance.now();
  const answer = await answering();
  const text = await answer.text();
  timesMs.push(performance.now() - startedMs);
  const headers = Object.fromEntries(answer.headers);
  const requestId = headers["x-request-id"] ?? "";
  expect(requestId).not.toBe("");
  const { "x-request-id": _id, date: _date, ratelimit, ...same } = headers;
  return {
    status: answer.status,
    text: text.replaceAll(requestId, "<id>"),
    headers: same,
    // The clock may move on by a second between the two.
    limits: ratelimit?.replaceAll(/t=\d+/g, "t"),
  };
}
