/**
 * Contract suite: a message with an idempotency key is sent at most once, and lost answers are
 * recovered.
 */
import { describe, expect, test } from "vitest";

import { type Fixture, readCode } from "./runtime.ts";

export function describeAtMostOnce(use: () => Fixture): void {
  const sendWith = (key: string, chatId: string, content: string, sub = "once") =>
    use().send({ sub, chatId, content, headers: { "Idempotency-Key": key } });
  /** How often the message arrived at UponAI. */
  const arrivals = (chatId: string, content: string) =>
    use()
      .emulator.messages({ chatId })
      .find((message) => message.content === content)?.arrived ?? 0;

  describe("a message with a key", () => {
    test("is answered again with the stored answer, and sent once", async () => {
      const chatId = use().createChat();
      const first = await sendWith("key-1", chatId, "once");
      expect(first.status).toBe(201);
      expect(first.headers.get("idempotency-replayed")).toBeNull();
      const again = await sendWith("key-1", chatId, "once");
      expect(again.status).toBe(201);
      expect(again.headers.get("idempotency-replayed")).toBe("true");
      expect(await again.text()).toBe(await first.text());
      expect(arrivals(chatId, "once")).toBe(1);
    });

    test("with other content is 422, with a key of no characters or strange ones 400", async () => {
      const chatId = use().createChat();
      expect((await sendWith("key-2", chatId, "one")).status).toBe(201);
      const reused = await sendWith("key-2", chatId, "two");
      expect([reused.status, await readCode(reused)]).toEqual([422, "idempotency_key_reused"]);
      expect(arrivals(chatId, "two")).toBe(0);
      expect((await sendWith("a".repeat(256), chatId, "three")).status).toBe(400);
      expect((await sendWith("a b", chatId, "three")).status).toBe(400);
    });

    test("that is in progress is 409 to the second request, and sent once", async () => {
      const chatId = use().createChat();
      const content = '!fault {"delayMs":1000}\nslow';
      const first = sendWith("key-3", chatId, content);
      await expect.poll(() => arrivals(chatId, content), { interval: 10, timeout: 5_000 }).toBe(1);
      const second = await sendWith("key-3", chatId, content);
      expect([second.status, await readCode(second)]).toEqual([409, "request_in_progress"]);
      expect(second.headers.get("retry-after")).toMatch(/^\d+$/);
      expect((await first).status).toBe(201);
      expect(arrivals(chatId, content)).toBe(1);
    });

    test("may try again after a refusal that certainly had no effect", async () => {
      const chatId = use().createChat();
      use().emulator.addFault({ kind: "status", status: 429 }, { chatId, operation: "completion" });
      expect((await sendWith("key-4", chatId, "busy")).status).toBe(503);
      const again = await sendWith("key-4", chatId, "busy");
      expect(again.status).toBe(201);
      expect(again.headers.get("idempotency-replayed")).toBeNull();
    });

    test("whose answer was lost is recovered from the transcript, and never sent again", async () => {
      const chatId = use().createChat();
      use().emulator.addFault({ kind: "reset-after" }, { chatId, operation: "completion" });
      const found = await sendWith("key-5", chatId, "lost answer");
      expect(found.status).toBe(201);
      expect(found.headers.get("message-recovered")).toBe("true");
      expect(await found.json()).toEqual({
        messages: [{ role: "assistant", content: "You said: lost answer" }],
      });
      expect((await sendWith("key-5", chatId, "lost answer")).status).toBe(201);
      expect(arrivals(chatId, "lost answer")).toBe(1);
    });

    test("whose answer is too large to be stored is recovered from the transcript", async () => {
      const chatId = use().createChat();
      const content = "x".repeat(5_000);
      // The state of the transcript is known before the second message.
      expect((await sendWith("key-8-before", chatId, "before")).status).toBe(201);
      const first = await sendWith("key-8", chatId, content);
      expect(first.status).toBe(201);
      expect(first.headers.get("message-recovered")).toBeNull();
      expect((await sendWith("key-8-after", chatId, "after")).status).toBe(201);
      const again = await sendWith("key-8", chatId, content);
      expect(again.status).toBe(201);
      expect(again.headers.get("message-recovered")).toBe("true");
      expect(again.headers.get("idempotency-replayed")).toBeNull();
      expect(await again.text()).toBe(await first.text());
      expect(arrivals(chatId, content)).toBe(1);
    });

    test("that may have been lost has an unknown outcome, is recovered again, and is sent once", async () => {
      const chatId = use().createChat();
      use().emulator.addFault({ kind: "reset-before" }, { chatId, operation: "completion" });
      const lost = await sendWith("key-6", chatId, "lost");
      expect([lost.status, await readCode(lost)]).toEqual([504, "outcome_unknown"]);
      const again = await sendWith("key-6", chatId, "lost");
      expect([again.status, await readCode(again)]).toEqual([504, "outcome_unknown"]);
      expect(arrivals(chatId, "lost")).toBe(1);
    });

    test("goes on when its client hangs up, and its answer is kept for the key", async () => {
      const chatId = use().createChat();
      const content = '!fault {"delayMs":1000}\nleft with a key';
      const leaving = new AbortController();
      const left = use()
        .send({
          sub: "once",
          chatId,
          content,
          headers: { "Idempotency-Key": "key-7" },
          signal: leaving.signal,
        })
        .catch(() => "gone");
      await expect.poll(() => arrivals(chatId, content), { interval: 10, timeout: 5_000 }).toBe(1);
      leaving.abort();
      expect(await left).toBe("gone");
      await expect
        .poll(
          async () => {
            const answer = await sendWith("key-7", chatId, content);
            return [answer.status, answer.headers.get("idempotency-replayed")];
          },
          { interval: 300, timeout: 10_000 },
        )
        .toEqual([201, "true"]);
      expect(arrivals(chatId, content)).toBe(1);
    });
  });
}
