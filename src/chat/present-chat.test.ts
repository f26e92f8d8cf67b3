import * as fc from "fast-check";
import { expect, test } from "vitest";

import { parseChat } from "../upstream/message-schema.ts";
import { chatSchema, presentChat, presentStartedChat, startedChatSchema } from "./present-chat.ts";

const FULL = {
  chatId: "chat-1",
  status: "ended",
  startedAt: "2026-04-20T12:00:00Z",
  endedAt: "2026-04-20T12:30:00Z",
  messages: [{ role: "assistant", content: "Hello" }],
};

test("a chat is shown with five members, a started one without its end", () => {
  const chat = { ...FULL, metadata: { uponai_bff_owner: "stamp" }, chatCost: { total: 1 } };
  expect(presentChat(chat, false)).toEqual(FULL);
  const { endedAt: _endedAt, ...started } = FULL;
  expect(presentStartedChat(chat, false)).toEqual(started);
});

test("what UponAI leaves out is null, and messages are none", () => {
  const bare = { chatId: "chat-1", status: null, startedAt: null, endedAt: null, messages: [] };
  expect(presentChat({ chatId: "chat-1" }, false)).toEqual(bare);
  expect(presentChat({ ...bare, messages: null }, false)).toEqual(bare);
});

test("tool calls are shown only when they are exposed", () => {
  const chat = { chatId: "chat-1", messages: [{ toolCalls: [{ id: "call-1" }] }] };
  expect(presentChat(chat, false).messages).toEqual([]);
  expect(presentChat(chat, true).messages).toEqual([
    { role: "assistant", content: "", tool_calls: [{ id: "call-1" }] },
  ]);
});

test("whatever UponAI says, what is shown is what is described", () => {
  const members = fc.record(
    {
      chatId: fc.string(),
      status: fc.option(fc.string()),
      startedAt: fc.option(fc.date({ noInvalidDate: true }).map((date) => date.toISOString())),
      endedAt: fc.option(fc.constantFrom("2026-04-20T14:00:00+02:00", "2026-04-20T12:00:00.5Z")),
      messages: fc.option(
        fc.array(
          fc.record(
            {
              role: fc.option(fc.constantFrom("assistant", "user", "tool")),
              content: fc.option(fc.string()),
              name: fc.option(fc.string()),
              tool_calls: fc.option(fc.array(fc.dictionary(fc.string(), fc.jsonValue()))),
            },
            { requiredKeys: [] },
          ),
        ),
      ),
      metadata: fc.option(fc.dictionary(fc.string(), fc.jsonValue())),
      chatCost: fc.jsonValue(),
    },
    { requiredKeys: ["chatId"] },
  );
  fc.assert(
    fc.property(members, fc.boolean(), (given, exposed) => {
      const chat = parseChat(JSON.stringify(given));
      fc.pre(chat !== undefined);
      expect(chatSchema.safeParse(presentChat(chat, exposed)).error).toBeUndefined();
      expect(startedChatSchema.safeParse(presentStartedChat(chat, exposed)).error).toBeUndefined();
    }),
  );
});
