/** Contract suite: answers with a bounded wait (`Prefer: respond-async, wait=N`). */
import { describe, expect, test } from "vitest";

import { ALLOWED_ORIGIN, type Fixture, readCode, type Send } from "./runtime.ts";

/** A message whose answer takes longer than one wait of a second. */
const SLOW = '!fault {"delayMs":1500}\nslow';

const answerTo = (content: string) => ({
  messages: [{ role: "assistant", content: `You said: ${content}` }],
});

/** Repeats a request for as long as it is answered 202. */
async function untilAnswered(ask: () => Promise<Response>): Promise<Response> {
  for (;;) {
    const answer = await ask();
    if (answer.status !== 202) return answer;
    await answer.arrayBuffer();
  }
}

export function describeLongAnswers(use: () => Fixture): void {
  const sendWith = (key: string, chatId: string, options: Send & { prefer?: string } = {}) => {
    const { prefer = "respond-async, wait=1", headers, content = SLOW, ...rest } = options;
    return use().send({
      sub: "patient",
      chatId,
      content,
      ...rest,
      headers: { "Idempotency-Key": key, Prefer: prefer, ...headers },
    });
  };
  const counts = (chatId: string) =>
    use()
      .emulator.messages({ chatId })
      .map(({ arrived, taken }) => [arrived, taken]);
  const expectArrival = async (chatId: string) => {
    await expect.poll(() => counts(chatId).length, { interval: 10, timeout: 5_000 }).toBe(1);
  };

  describe("a bounded wait", () => {
    test("that is long enough ends with the usual answer", async () => {
      const chatId = use().createChat();
      const answer = await sendWith("wait-1", chatId, { prefer: "respond-async, wait=55" });
      expect(answer.status).toBe(201);
      expect(answer.headers.get("preference-applied")).toBe("wait=55");
      expect(await answer.json()).toEqual(answerTo(SLOW));
    });

    test("that is too short is 202, and the same request again waits on", async () => {
      const chatId = use().createChat();
      const first = await sendWith("wait-2", chatId);
      expect(first.status).toBe(202);
      expect(await first.text()).toBe('{"status":"running"}');
      expect(Object.fromEntries(first.headers)).toMatchObject({
        "content-type": "application/json",
        "preference-applied": "respond-async, wait=1",
        "retry-after": "0",
        "cache-control": "no-store",
        "ratelimit-policy": expect.stringContaining('"session"') as unknown,
      });
      const answer = await untilAnswered(() => sendWith("wait-2", chatId));
      expect(answer.status).toBe(201);
      expect(answer.headers.get("preference-applied")).toBe("wait=1");
      expect(await answer.json()).toEqual(answerTo(SLOW));
      const again = await sendWith("wait-2", chatId);
      expect(again.headers.get("idempotency-replayed")).toBe("true");
      expect(await again.json()).toEqual(answerTo(SLOW));
      expect(counts(chatId)).toEqual([[1, 1]]);
    });

    test("of respond-async alone is none: 202 at once, and the message goes on", async () => {
      const chatId = use().createChat();
      const prefer = "respond-async";
      const first = await sendWith("wait-3", chatId, { prefer });
      expect([first.status, first.headers.get("preference-applied")]).toEqual([202, prefer]);
      const repeat = await sendWith("wait-3", chatId, { prefer });
      expect([repeat.status, repeat.headers.get("retry-after")]).toEqual([202, "0"]);
      const answer = await untilAnswered(() => sendWith("wait-3", chatId));
      expect(answer.status).toBe(201);
      expect(counts(chatId)).toEqual([[1, 1]]);
    });

    test("is ignored where Prefer is malformed, or where there is no key", async () => {
      const malformed = await sendWith("wait-4", use().createChat(), {
        prefer: "respond-async wait=1",
      });
      expect([malformed.status, malformed.headers.get("preference-applied")]).toEqual([201, null]);
      const keyless = await use().send({
        content: SLOW,
        headers: { Prefer: "respond-async, wait=1" },
      });
      expect([keyless.status, keyless.headers.get("preference-applied")]).toEqual([201, null]);
    });

    test("is not there without Prefer: the repeat is 409 at once", async () => {
      const chatId = use().createChat();
      const prefer = "respond-async";
      await sendWith("wait-5", chatId, { prefer });
      const plain = await use().send({
        sub: "patient",
        chatId,
        content: SLOW,
        headers: { "Idempotency-Key": "wait-5" },
      });
      expect([plain.status, await readCode(plain)]).toEqual([409, "request_in_progress"]);
      expect(plain.headers.get("preference-applied")).toBeNull();
      const answer = await untilAnswered(() => sendWith("wait-5", chatId));
      expect(answer.status).toBe(201);
    });

    test("does not delay a refusal", async () => {
      const chatId = use().createChat();
      const prefer = "respond-async, wait=55";
      expect((await sendWith("wait-6", chatId, { content: "hi" })).status).toBe(201);
      const reused = await sendWith("wait-6", chatId, { content: "ho", prefer });
      expect([reused.status, await readCode(reused)]).toEqual([422, "idempotency_key_reused"]);
      const stranger = await sendWith("wait-6", chatId, { sub: "stranger", content: "hi", prefer });
      expect([stranger.status, await readCode(stranger)]).toEqual([404, "chat_not_found"]);
      const unknown = await sendWith("wait-6", "chat-unknown", { content: "hi", prefer });
      expect([unknown.status, await readCode(unknown)]).toEqual([404, "chat_not_found"]);
    });

    test("lasts on for a message whose client has left: it is sent once, and its answer kept", async () => {
      const chatId = use().createChat();
      const leaving = new AbortController();
      const left = sendWith("wait-7", chatId, {
        prefer: "respond-async, wait=55",
        signal: leaving.signal,
      }).catch(() => "gone");
      await expectArrival(chatId);
      leaving.abort();
      expect(await left).toBe("gone");
      const answer = await untilAnswered(() => sendWith("wait-7", chatId));
      expect(answer.status).toBe(201);
      expect(await answer.json()).toEqual(answerTo(SLOW));
      expect(counts(chatId)).toEqual([[1, 1]]);
    });

    test("of many requests for one message ends for all of them with the same answer", async () => {
      const chatId = use().createChat();
      const all = Array.from({ length: 8 }, () =>
        untilAnswered(() => sendWith("wait-8", chatId, { prefer: "respond-async, wait=55" })),
      );
      const bodies = await Promise.all(
        all.map(async (asking) => {
          const answer = await asking;
          expect(answer.status).toBe(201);
          return answer.text();
        }),
      );
      expect(new Set(bodies)).toEqual(new Set([JSON.stringify(answerTo(SLOW))]));
      expect(counts(chatId)).toEqual([[1, 1]]);
    });

    test("whose message fails is given the failure, and the key may try again where it was not taken", async () => {
      const chatId = use().createChat();
      use().emulator.addFault(
        { delayMs: 1_200, kind: "status", status: 429 },
        { chatId, operation: "completion" },
      );
      expect((await sendWith("wait-9", chatId, { content: "busy" })).status).toBe(202);
      const answer = await untilAnswered(() => sendWith("wait-9", chatId, { content: "busy" }));
      // A repeat that comes after the failure, or waits elsewhere, sends the message itself.
      if (answer.status !== 201) {
        expect([answer.status, await readCode(answer)]).toEqual([503, "upstream_busy"]);
        const again = await sendWith("wait-9", chatId, { content: "busy" });
        expect(again.status).toBe(201);
      }
      expect(counts(chatId)).toEqual([[2, 1]]);
    });

    test("can be asked for by a page of a listed origin, which can read what was applied", async () => {
      const path = `/chat/${use().createChat()}/send`;
      const preflight = await use().ask(path, {
        method: "OPTIONS",
        headers: { Origin: ALLOWED_ORIGIN, "Access-Control-Request-Method": "POST" },
      });
      expect(preflight.headers.get("access-control-allow-headers")?.split(", ")).toContain(
        "Prefer",
      );
      const answer = await sendWith("wait-10", use().createChat(), {
        content: "hi",
        headers: { Origin: ALLOWED_ORIGIN },
      });
      const exposed = answer.headers.get("access-control-expose-headers")?.split(", ");
      expect(exposed).toContain("Preference-Applied");
    });
  });
}
