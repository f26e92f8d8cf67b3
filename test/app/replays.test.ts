/** Contract of the limit on stored answers that are given again, by number and by bytes. */
import { describe, expect, test } from "vitest";

import { answerWith, createTestApp, readProblem, type TestApp } from "../support/app-fixture.ts";

const repeat = (app: TestApp, key: string, sub = "alice") =>
  app.send({ sub, chatId: `chat-of-${sub}`, headers: { "Idempotency-Key": key } });

describe("LIMIT_REPLAYS", () => {
  test("refuses past its number, says when one more is given, and spends nothing else", async () => {
    const app = await createTestApp({ environment: { LIMIT_REPLAYS: "2/1m" } });
    const first = await repeat(app, "key");
    expect(first.headers.get("ratelimit")).toContain('"session";r=19');
    for (let count = 0; count < 2; count += 1) {
      const again = await repeat(app, "key");
      expect([again.status, again.headers.get("idempotency-replayed")]).toEqual([201, "true"]);
      expect(again.headers.get("ratelimit")).toContain('"session";r=19');
    }
    const refused = await repeat(app, "key");
    expect(refused.status).toBe(429);
    expect(refused.headers.get("retry-after")).toBe("30");
    expect(refused.headers.get("ratelimit")).toBe('"replays";r=0;t=30');
    expect(await readProblem(refused)).toMatchObject({
      code: "rate_limited",
      "violated-policies": ["replays"],
    });
    app.clock.advanceMs(30_000);
    expect((await repeat(app, "key")).status).toBe(201);
    expect(app.sent.filter(({ method }) => method === "POST")).toHaveLength(1);
  });

  test("refuses past 16 MiB a minute, independent of the number; each subject has its own", async () => {
    const content = "x".repeat(1_000_000);
    const app = await createTestApp({
      environment: {
        LIMIT_REPLAYS: "1000/1m",
        STORED_ANSWER_BYTES: "1MiB",
        STORED_BYTES_SUBJECT: "8MiB",
      },
      upstream: () => answerWith({ messages: [{ role: "assistant", content }] }),
    });
    expect((await repeat(app, "key")).status).toBe(201);
    expect((await repeat(app, "key", "bob")).status).toBe(201);
    const statuses = [];
    for (let count = 0; count < 20; count += 1) statuses.push((await repeat(app, "key")).status);
    expect(statuses.filter((status) => status === 201)).toHaveLength(16);
    const refused = await repeat(app, "key");
    expect(await readProblem(refused)).toMatchObject({ "violated-policies": ["replays"] });
    const waitSeconds = Number(refused.headers.get("retry-after"));
    expect(waitSeconds).toBeGreaterThan(0);
    expect(waitSeconds).toBeLessThan(5);
    expect((await repeat(app, "key", "bob")).status).toBe(201);
    app.clock.advanceMs((waitSeconds - 1) * 1_000);
    expect((await repeat(app, "key")).status).toBe(429);
    app.clock.advanceMs(1_000);
    expect((await repeat(app, "key")).status).toBe(201);
  });

  test("that is off refuses none", async () => {
    const app = await createTestApp({ environment: { LIMIT_REPLAYS: "off" } });
    for (let count = 0; count < 80; count += 1) {
      expect((await repeat(app, "key")).status).toBe(201);
    }
  });
});
