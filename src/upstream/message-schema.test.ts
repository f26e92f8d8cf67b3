import * as fc from "fast-check";
import { describe, expect, test } from "vitest";

import { parseChat, parseCompletion } from "./message-schema.ts";

const read = (value: unknown) => parseCompletion(JSON.stringify(value));

describe("a completion", () => {
  test("gives its messages with the four members that are read, and drops all others", () => {
    const message = {
      role: "assistant",
      content: "Hello",
      name: "helper",
      tool_calls: [{ id: "call-1", type: "function" }],
    };
    const completion = {
      messages: [{ ...message, cost: 0.2, internalNotes: "secret" }],
      chatCost: { total: 1 },
      metadata: { secret: true },
    };
    const { tool_calls: toolCalls, ...others } = message;
    expect(read(completion)).toEqual([{ ...others, toolCalls }]);
  });

  test("without messages has none", () => {
    expect(read({})).toEqual([]);
    expect(read({ messages: [] })).toEqual([]);
    expect(read({ chatId: "c1" })).toEqual([]);
  });

  test("of an agent that calls tools may leave out role and content, or give null", () => {
    expect(
      read({ messages: [{}, { role: null, content: null, name: null, tool_calls: null }] }),
    ).toEqual([{}, { role: null, content: null, name: null, toolCalls: null }]);
  });
});

describe("malformed is", () => {
  test.each([
    ["nothing", ""],
    ["no JSON", "<html>Bad gateway</html>"],
    ["unfinished JSON", '{"messages":['],
    ["two values", "{}{}"],
    ["null", "null"],
    ["a list", "[]"],
    ["a text", '"messages"'],
    ["messages that are no list", '{"messages":{}}'],
    ["messages that are null", '{"messages":null}'],
    ["a message that is a text", '{"messages":["hi"]}'],
    ["a message that is null", '{"messages":[null]}'],
    ["a content that is no text", '{"messages":[{"role":"assistant","content":{"a":1}}]}'],
    ["a content that is a number", '{"messages":[{"role":"assistant","content":1}]}'],
    ["a role that is no text", '{"messages":[{"role":1,"content":"a"}]}'],
    ["a name that is no text", '{"messages":[{"role":"user","content":"a","name":[]}]}'],
    ["tool calls that are no list", '{"messages":[{"content":"a","tool_calls":{}}]}'],
    ["a tool call that is no object", '{"messages":[{"content":"a","tool_calls":["x"]}]}'],
    ["one such message among good ones", '{"messages":[{"content":"a"},{"content":1}]}'],
  ])("%s", (_what, body) => {
    expect(parseCompletion(body)).toBeUndefined();
  });
});

test("no member of the prototype is changed by an answer", () => {
  parseCompletion('{"__proto__":{"polluted":1},"messages":[{"__proto__":{"polluted":1}}]}');
  parseCompletion('{"messages":[{"tool_calls":[{"__proto__":{"polluted":1}}]}]}');
  expect(Reflect.get({}, "polluted")).toBeUndefined();
});

test("whatever text comes, it is read or malformed, and never throws", () => {
  const known = new Set(["role", "content", "name", "toolCalls"]);
  const bodies = fc.oneof(
    fc.string({ unit: "binary" }),
    fc.json(),
    fc.json().map((json) => `{"messages":[${json}]}`),
  );
  fc.assert(
    fc.property(bodies, (body) => {
      const members = (parseCompletion(body) ?? []).flatMap((message) => Object.keys(message));
      expect(members.filter((member) => !known.has(member))).toEqual([]);
    }),
  );
});

const readChat = (value: unknown) => parseChat(JSON.stringify(value));

describe("a chat", () => {
  test("is read by its six members, and all others are dropped", () => {
    const chat = {
      chatId: "chat-1",
      status: "ongoing",
      startedAt: "2026-04-20T12:00:00Z",
      endedAt: null,
      messages: [{ role: "assistant", content: "Hello" }],
      metadata: { page: "/", uponai_bff_owner: "stamp" },
    };
    expect(readChat({ ...chat, chatCost: { total: 1 }, transcript: "secret" })).toEqual(chat);
  });

  test("needs no more than its id, and may give null for all else", () => {
    expect(readChat({ chatId: "chat-1" })).toEqual({ chatId: "chat-1" });
    const nulls = { status: null, startedAt: null, endedAt: null, messages: null, metadata: null };
    expect(readChat({ chatId: "chat-1", ...nulls })).toEqual({ chatId: "chat-1", ...nulls });
  });

  test.each([
    ["2026-04-20T12:00:00Z", "2026-04-20T12:00:00Z"],
    ["2026-04-20T12:00:00.123456Z", "2026-04-20T12:00:00.123456Z"],
    ["2026-04-20T12:00:00+00:00", "2026-04-20T12:00:00.000Z"],
    ["2026-04-20T00:30:00+05:45", "2026-04-19T18:45:00.000Z"],
    ["2026-12-31T23:30:00.250-01:00", "2027-01-01T00:30:00.250Z"],
  ])("has the time %s in UTC: %s", (given, utc) => {
    expect(readChat({ chatId: "c", startedAt: given, endedAt: given })).toMatchObject({
      startedAt: utc,
      endedAt: utc,
    });
  });

  test.each([
    ["no JSON", "<html>"],
    ["a list", "[]"],
    ["null", "null"],
    ["no id", "{}"],
    ["an id that is a number", '{"chatId":1}'],
    ["an id that is null", '{"chatId":null}'],
    ["a status that is no text", '{"chatId":"c","status":1}'],
    ["a time that is a number", '{"chatId":"c","startedAt":1776686400}'],
    ["a time that is none", '{"chatId":"c","startedAt":"yesterday"}'],
    ["a time without a zone", '{"chatId":"c","startedAt":"2026-04-20T12:00:00"}'],
    ["a day alone", '{"chatId":"c","endedAt":"2026-04-20"}'],
    ["a day that does not exist", '{"chatId":"c","endedAt":"2026-02-30T12:00:00+01:00"}'],
    ["messages that are no list", '{"chatId":"c","messages":{}}'],
    ["a message that is malformed", '{"chatId":"c","messages":[{"content":1}]}'],
    ["metadata that are a list", '{"chatId":"c","metadata":[]}'],
  ])("is malformed when it is or has %s", (_what, body) => {
    expect(parseChat(body)).toBeUndefined();
  });

  test("of any text is read or malformed, and never throws", () => {
    const read = ["chatId", "status", "startedAt", "endedAt", "messages", "metadata"];
    const known = new Set(read);
    const bodies = fc.oneof(
      fc.string({ unit: "binary" }),
      fc.json(),
      fc.json().map((json) => `{"chatId":"c","metadata":${json},"startedAt":${json}}`),
    );
    fc.assert(
      fc.property(bodies, (body) => {
        const members = Object.keys(parseChat(body) ?? {});
        expect(members.filter((member) => !known.has(member))).toEqual([]);
      }),
    );
  });
});
