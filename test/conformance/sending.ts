/** Contract suite: which messages are accepted, and to which workspace and chat they are sent. */
import { describe, expect, test } from "vitest";

import bodies from "../data/bodies.json" with { type: "json" };
import chatIds from "../data/chat-ids.json" with { type: "json" };
import { openRaw } from "../support/raw-http.ts";
import { bearer, type Fixture, readCode, UPSTREAM_TOKEN } from "./runtime.ts";

export function describeSending(use: () => Fixture): void {
  test("a message is answered, and goes to UponAI as it should and no other way", async () => {
    const { send, createChat, emulator } = use();
    const chatId = createChat();
    const content = '  a\n\t\u0000 \ud83d\ude00 \u202e"\\ <script>  ';
    const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const answer = await send({
      chatId,
      content,
      headers: { traceparent, tracestate: "a=b", Referer: "https://x.example/", "X-Other": "1" },
    });
    expect(answer.status).toBe(201);
    expect(await answer.json()).toEqual({
      messages: [{ role: "assistant", content: `You said: ${content}` }],
    });
    const sent = emulator.requests().at(-1);
    expect(sent).toMatchObject({ method: "POST", path: `/api/chats/${chatId}/completions` });
    expect(JSON.parse(sent?.body ?? "")).toEqual({ workspaceId: 42, content });
    expect(sent?.headers).toMatchObject({
      authorization: `Bearer ${UPSTREAM_TOKEN}`,
      "content-type": "application/json",
      traceparent,
    });
    for (const name of [
      "cookie",
      "referer",
      "tracestate",
      "x-other",
      "x-forwarded-for",
      "origin",
    ]) {
      expect(sent?.headers).not.toHaveProperty(name);
    }
    expect(JSON.stringify(sent?.headers)).not.toContain("10.0.");
  });

  describe("a body", () => {
    test.each(bodies)("of $name is 400 and reaches nothing", async ({ body, pointer }) => {
      const before = use().emulator.requests().length;
      const answer = await use().send({ body });
      expect(answer.status).toBe(400);
      expect(await answer.json()).toMatchObject({ code: "invalid_request", errors: [{ pointer }] });
      expect(use().emulator.requests()).toHaveLength(before);
    });

    test("over MAX_BODY_BYTES is 413 though it comes in chunks; at the limit it is not", async () => {
      const frame = '{"content":"hi"}';
      const exactly = frame + " ".repeat(32_768 - frame.length);
      expect((await use().send({ body: exactly })).status).toBe(201);
      const chunks = ReadableStream.from(
        [exactly, " "].map((text) => new TextEncoder().encode(text)),
      );
      const answer = await use().send({ body: chunks });
      expect(answer.status).toBe(413);
      expect(await readCode(answer)).toBe("content_too_large");
    });
  });

  describe("a chat id", () => {
    test.each(chatIds.bad)("%s is 400 and reaches nothing", async (chatId) => {
      const before = use().emulator.requests().length;
      expect((await use().send({ chatId })).status).toBe(400);
      expect(use().emulator.requests()).toHaveLength(before);
    });

    test.each(["..", "%2e%2e", "a/b", ".%2e/chat-1"])(
      "that is the path %j reaches nothing",
      async (chatId) => {
        const before = use().emulator.requests().length;
        expect([400, 404]).toContain((await use().send({ chatId })).status);
        expect(use().emulator.requests()).toHaveLength(before);
      },
    );

    test.each([
      "/chat/x/%2e%2e/TARGET/send",
      "/chat/x/../TARGET/send",
      "/chat/x/.%2E/TARGET/send",
      "/chat/./TARGET/send",
      "/chat/%2e/TARGET/send",
      "/x/../chat/TARGET/send",
      "/chat/TARGET/x/../send",
      "/chat/x\\..\\TARGET/send",
      "/chat/x%2f..%2fTARGET/send",
    ])("behind dot segments, as in %s, is 400 and reaches nothing", async (path) => {
      const chatId = use().createChat();
      const { Authorization } = await bearer({ sub: "dotted" });
      const before = use().emulator.requests().length;
      // Raw bytes: a client library would resolve the segments itself.
      const connection = await openRaw(use().service.url);
      const body = '{"content":"hi"}';
      const head = [
        `POST ${path.replace("TARGET", chatId)} HTTP/1.1`,
        "Host: x",
        `Authorization: ${Authorization}`,
        "Content-Type: application/json",
        `Content-Length: ${body.length}`,
        "Connection: close",
      ];
      connection.write(`${head.join("\r\n")}\r\n\r\n${body}`);
      expect(await connection.received("\r\n\r\n")).toMatch(/^HTTP\/1\.1 400 /);
      connection.destroy();
      expect(use().emulator.requests()).toHaveLength(before);
    });
  });

  test("a chat takes one message at a time", async () => {
    const { send, createChat, emulator } = use();
    const chatId = createChat();
    const first = send({ chatId, content: '!fault {"delayMs":1000}' });
    await expect
      .poll(() => emulator.messages({ chatId }).length, { interval: 10, timeout: 5_000 })
      .toBe(1);
    const second = await send({ chatId, content: "meanwhile" });
    expect(second.status).toBe(409);
    expect(second.headers.get("retry-after")).toBe("1");
    expect(await readCode(second)).toBe("chat_busy");
    expect((await first).status).toBe(201);
    expect((await send({ chatId, content: "after" })).status).toBe(201);
    const arrived = emulator.messages({ chatId }).map(({ content }) => content);
    expect(arrived).not.toContain("meanwhile");
  });

  test("a client that hangs up does not stop its message, and its chat is freed", async () => {
    const { send, createChat, emulator } = use();
    const chatId = createChat();
    const leaving = new AbortController();
    const left = send({
      chatId,
      content: '!fault {"delayMs":1000}\nleft',
      signal: leaving.signal,
    }).catch(() => "gone");
    await expect
      .poll(() => emulator.messages({ chatId }).length, { interval: 10, timeout: 5_000 })
      .toBe(1);
    leaving.abort();
    expect(await left).toBe("gone");
    await expect
      .poll(() => emulator.messages({ chatId })[0]?.taken, { interval: 50, timeout: 10_000 })
      .toBe(1);
    await expect
      .poll(async () => (await send({ chatId, content: "next" })).status, {
        interval: 100,
        timeout: 10_000,
      })
      .toBe(201);
  });
}
