/**
 * Contract of provisional owners: a failed request leaves no owner, so other subjects can use the
 * chat.
 */
import * as fc from "fast-check";
import { expect, test } from "vitest";

import type { UpstreamReply } from "../../src/upstream/transport.ts";
import { answerWith, createTestApp } from "../support/app-fixture.ts";

type Operation = "send" | "send-keyed" | "read" | "end";

const refused = (status: number, retryAfter?: string): UpstreamReply => ({
  kind: "answer",
  status,
  retryAfter,
  body: "{}",
});

/** Failures that do not prove that the chat exists. */
const failures: Record<string, UpstreamReply> = {
  "400": refused(400),
  "401": refused(401),
  "404": refused(404),
  "422": refused(422),
  "429": refused(429),
  "500": refused(500),
  "503": refused(503),
  "503-wait": refused(503, "1"),
  lost: { kind: "lost" },
  unreachable: { kind: "not_sent", reason: "connect_timeout" },
  timeout: { kind: "timeout", sent: true },
  unsent: { kind: "timeout", sent: false },
  malformed: answerWith({ messages: 7 }),
  unusable: { kind: "unusable" },
};

const step = fc.record({
  operation: fc.constantFrom<Operation>("send", "send-keyed", "read", "end"),
  failure: fc.constantFrom(...Object.keys(failures)),
  key: fc.nat(2),
  waitMs: fc.constantFrom(0, 0, 1_000, 20_000),
});

test.each([
  ["without an agent", {}],
  ["with an agent, whose chats bear stamps", { UPONAI_AGENT_ID: "agent" }],
])(
  "after any failure of one subject, another subject can own the chat %s",
  async (_name, agent) => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 12 }), async (steps) => {
        let failing: UpstreamReply | undefined;
        const app = await createTestApp({
          environment: {
            LIMIT_SESSION: "off",
            LIMIT_WORKSPACE: "off",
            LIMIT_IP: "off",
            RECOVERY_WINDOW: "1s",
            ...agent,
          },
          upstream: ({ method, path }) => {
            if (failing !== undefined) return failing;
            const messages = [{ role: "assistant", content: "Hi" }];
            if (method === "GET") return answerWith({ chatId: "chat-1", messages }, 200);
            return path.endsWith("/completions") ? answerWith({ messages }) : answerWith({}, 200);
          },
        });
        for (const { operation, failure, key, waitMs } of steps) {
          failing = failures[failure];
          const headers = operation === "send-keyed" ? { "Idempotency-Key": `key-${key}` } : {};
          const answer =
            operation === "read" || operation === "end"
              ? await app.ask(operation === "read" ? "GET /chat/chat-1" : "POST /chat/chat-1/end")
              : await app.send({ headers });
          expect(answer.status, `${operation} ${failure}`).toBeGreaterThanOrEqual(400);
          app.clock.advanceMs(waitMs);
        }
        failing = undefined;
        // After this time the circuit has closed.
        app.clock.advanceMs(10_000);
        const ofBob = await app.send({ sub: "bob" });
        expect(ofBob.status).toBe(201);
        const ofAlice = await app.ask("GET /chat/chat-1");
        expect(ofAlice.status).toBe(404);
      }),
      { numRuns: 150 },
    );
  },
  60_000,
);

test.each([
  ["answered", () => answerWith({ messages: [] })],
  ["refused since the chat has ended", () => refused(409)],
])("a first message that is %s makes the owner", async (_how, reply) => {
  const app = await createTestApp({ upstream: reply });
  await app.send();
  expect((await app.send({ sub: "bob" })).status).toBe(404);
});

test("a message of unknown outcome makes its subject the owner once UponAI has shown the chat", async () => {
  const app = await createTestApp({
    environment: { RECOVERY_WINDOW: "1s" },
    upstream: ({ method }) =>
      method === "GET"
        ? answerWith({ chatId: "chat-1", messages: [] }, 200)
        : { kind: "timeout", sent: true },
  });
  const lost = await app.send({ headers: { "Idempotency-Key": "key" } });
  expect(lost.status).toBe(504);
  expect((await app.send({ sub: "bob" })).status).toBe(404);
});

test.each([
  ["read", "GET /chat/chat-1"],
  ["end", "POST /chat/chat-1/end"],
  ["message", undefined],
])(
  "a slow %s of a subject that another one replaced as the owner is answered 404",
  async (_name, target) => {
    const started = Promise.withResolvers<undefined>();
    const slow = Promise.withResolvers<undefined>();
    const messages = [{ role: "assistant", content: "A secret of bob" }];
    let calls = 0;
    const app = await createTestApp({
      upstream: async ({ method, path }) => {
        calls += 1;
        if (calls === 1) {
          started.resolve(undefined);
          await slow.promise;
        }
        if (method === "GET") return answerWith({ chatId: "chat-1", messages }, 200);
        return path.endsWith("/completions") ? answerWith({ messages }) : answerWith({}, 200);
      },
    });
    const ofAlice = target === undefined ? app.send() : app.ask(target);
    await started.promise;
    // The provisional owner has ended, and so has the message's lease.
    app.clock.advanceMs(600_000);
    expect((await app.send({ sub: "bob" })).status).toBe(201);
    slow.resolve(undefined);
    const answer = await ofAlice;
    expect([answer.status, await answer.text()]).toEqual([
      404,
      expect.not.stringContaining("secret"),
    ]);
    expect((await app.ask("GET /chat/chat-1", { sub: "bob" })).status).toBe(200);
  },
);

test.each([
  ["read", "GET /chat/chat-1"],
  ["end", "POST /chat/chat-1/end"],
])(
  "a failed read keeps the chat its subject's while a slow %s of it runs",
  async (_name, target) => {
    const started = Promise.withResolvers<undefined>();
    const slow = Promise.withResolvers<undefined>();
    let calls = 0;
    const app = await createTestApp({
      upstream: async () => {
        calls += 1;
        if (calls === 2) return refused(500);
        if (calls === 1) {
          started.resolve(undefined);
          await slow.promise;
        }
        return answerWith({ chatId: "chat-1", messages: [] }, 200);
      },
    });
    const ofAlice = app.ask(target);
    await started.promise;
    expect((await app.ask("GET /chat/chat-1")).status).toBe(502);
    expect((await app.send({ sub: "bob" })).status).toBe(404);
    slow.resolve(undefined);
    expect((await ofAlice).ok).toBe(true);
    expect((await app.send({ sub: "bob" })).status).toBe(404);
  },
);

test("a slow read of a chat that the token lists is answered, with any owner", async () => {
  const started = Promise.withResolvers<undefined>();
  const slow = Promise.withResolvers<undefined>();
  const app = await createTestApp({
    upstream: async ({ method }) => {
      if (method !== "GET") return answerWith({ messages: [] });
      started.resolve(undefined);
      await slow.promise;
      return answerWith({ chatId: "chat-1", messages: [] }, 200);
    },
  });
  const ofAlice = app.ask("GET /chat/chat-1", { claims: { chats: ["chat-1"] } });
  await started.promise;
  app.clock.advanceMs(600_000);
  expect((await app.send({ sub: "bob" })).status).toBe(201);
  slow.resolve(undefined);
  expect((await ofAlice).status).toBe(200);
});
