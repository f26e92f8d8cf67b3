/** Contract of the circuit breaker, on the application in this process. */
import { beforeEach, describe, expect, test } from "vitest";

import type { UpstreamReply } from "../../src/upstream/transport.ts";
import { answerWith, createTestApp, readProblem, type TestApp } from "../support/app-fixture.ts";
import { mintToken } from "../support/session-tokens.ts";

let app: TestApp;
let reply: UpstreamReply | Promise<UpstreamReply>;

const HEALTHY = answerWith({ messages: [{ role: "assistant", content: "Hi" }] });
const status = (code: number): UpstreamReply => ({
  kind: "answer",
  status: code,
  retryAfter: undefined,
  body: "",
});

beforeEach(async () => {
  reply = HEALTHY;
  app = await createTestApp({
    environment: { LIMIT_SESSION: "off", LIMIT_IP: "off" },
    upstream: () => reply,
  });
});

let chats = 0;
async function send(headers: Record<string, string> = {}, chatId = `chat-${(chats += 1)}`) {
  const answer = await app.send({ chatId, headers });
  const code = answer.status === 201 ? undefined : (await readProblem(answer))["code"];
  return { status: answer.status, code, retryAfter: answer.headers.get("retry-after") };
}

async function sendTimes(times: number): Promise<void> {
  for (let count = 0; count < times; count += 1) await send();
}

const REFUSED = { status: 503, code: "upstream_unavailable" };

describe("opens", () => {
  const failures: readonly (readonly [string, UpstreamReply])[] = [
    ["no connection", { kind: "not_sent", reason: "connect" }],
    ["no connection in time", { kind: "not_sent", reason: "connect_timeout" }],
    ["lost connections", { kind: "lost" }],
    ["time-outs", { kind: "timeout", sent: true }],
    ["500", status(500)],
    ["503", status(503)],
    ["503 with Retry-After", { ...status(503), retryAfter: "1" } as UpstreamReply],
  ];
  test.each(failures)(
    "after ten times %s, and then nothing goes upstream",
    async (_name, failure) => {
      reply = failure;
      await sendTimes(9);
      expect((await send()).code).not.toBe("upstream_unavailable");
      const before = app.sent.length;
      expect(await send()).toEqual({ ...REFUSED, retryAfter: "5" });
      app.clock.advanceMs(3_001);
      expect(await send()).toEqual({ ...REFUSED, retryAfter: "2" });
      expect(app.sent).toHaveLength(before);
    },
  );

  test("when half of twenty calls in ten seconds failed", async () => {
    for (let count = 0; count < 10; count += 1) {
      reply = HEALTHY;
      await send();
      reply = status(500);
      await send();
    }
    expect((await send()).code).toBe("upstream_unavailable");
  });

  test.each([400, 401, 403, 404, 409, 410, 422, 429])("never for %d", async (code) => {
    reply = status(code);
    await sendTimes(50);
    reply = HEALTHY;
    expect((await send()).status).toBe(201);
  });

  test("for every way to UponAI: a chat cannot be read either", async () => {
    reply = status(500);
    await sendTimes(10);
    const before = app.sent.length;
    const authorization = { Authorization: `Bearer ${await mintToken({ sub: "alice" })}` };
    const answer = await app.app.request("/chat/chat-1", { headers: authorization }, {});
    expect(await readProblem(answer)).toMatchObject(REFUSED);
    expect(app.sent).toHaveLength(before);
  });
});

async function sendAs(workspace: string, chatId: string): Promise<unknown> {
  const answer = await app.send({ sub: workspace, claims: { workspace }, chatId });
  return answer.status === 201 ? undefined : (await readProblem(answer))["code"];
}

async function failTimes(workspace: string, times: number, failure: UpstreamReply): Promise<void> {
  reply = failure;
  for (let count = 0; count < times; count += 1) {
    await sendAs(workspace, `${workspace}-${count}`);
  }
}

describe("of one workspace", () => {
  const WORKSPACES = JSON.stringify({ a: 1, b: 2, c: { id: 1, apiToken: "other-canary-token" } });
  beforeEach(async () => {
    app = await createTestApp({
      environment: { WORKSPACES, LIMIT_SESSION: "off", LIMIT_IP: "off" },
      upstream: () => reply,
    });
  });

  test.each<[string, UpstreamReply]>([
    ["500", status(500)],
    ["time-outs", { kind: "timeout", sent: true }],
    ["lost connections", { kind: "lost" }],
  ])("%s of its own messages refuse no other workspace", async (_name, failure) => {
    await failTimes("a", 30, failure);
    expect(await sendAs("a", "chat-a")).toBe("upstream_unavailable");
    reply = HEALTHY;
    expect(await sendAs("b", "chat-b")).toBeUndefined();
    // The same workspace with another token is another account.
    expect(await sendAs("c", "chat-c")).toBeUndefined();
    expect(await sendAs("a", "chat-a")).toBe("upstream_unavailable");
  });

  test("is of all when UponAI cannot be reached", async () => {
    await failTimes("a", 10, { kind: "not_sent", reason: "connect" });
    reply = HEALTHY;
    expect(await sendAs("b", "chat-b")).toBe("upstream_unavailable");
  });
});

describe("while it is open", () => {
  beforeEach(async () => {
    reply = status(500);
    await sendTimes(10);
    reply = HEALTHY;
  });

  test("a refused message has certainly not been sent: its key may try again", async () => {
    const key = { "Idempotency-Key": "key-1" };
    expect((await send(key, "chat-again")).code).toBe("upstream_unavailable");
    app.clock.advanceMs(5_000);
    expect((await send(key, "chat-again")).status).toBe(201);
  });

  test("after five seconds one of many probes it, and the others are refused until it is back", async () => {
    app.clock.advanceMs(5_000);
    const probe = Promise.withResolvers<UpstreamReply>();
    reply = probe.promise;
    const before = app.sent.length;
    const answers = Array.from({ length: 10 }, () => send());
    await expect.poll(() => app.sent.length).toBe(before + 1);
    reply = HEALTHY;
    probe.resolve(HEALTHY);
    const statuses = (await Promise.all(answers)).map((answer) => answer.status);
    expect(statuses.filter((each) => each === 201)).toHaveLength(1);
    expect(statuses.filter((each) => each === 503)).toHaveLength(9);
    expect(app.sent).toHaveLength(before + 1);
    expect((await send()).status).toBe(201);
  });

  test("a probe that fails keeps it open for five more seconds", async () => {
    app.clock.advanceMs(5_000);
    reply = status(502);
    expect((await send()).code).toBe("upstream_error");
    reply = HEALTHY;
    app.clock.advanceMs(4_999);
    expect(await send()).toEqual({ ...REFUSED, retryAfter: "1" });
    app.clock.advanceMs(1);
    expect((await send()).status).toBe(201);
  });
});
