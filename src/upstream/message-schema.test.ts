import * as fc from "fast-check";
import { describe, expect, test } from "vitest";

import { parseCompletion } from "./message-schema.ts";

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
    expect(read(completion)).toEqual([message]);
  });

  test("without messages has none", () => {
    expect(read({})).toEqual([]);
    expect(read({ messages: [] })).toEqual([]);
    expect(read({ chatId: "c1" })).toEqual([]);
  });

  test("of an agent that calls tools may leave out role and content, or give null", () => {
    expect(
      read({ messages: [{}, { role: null, content: null, name: null, tool_calls: null }] }),
    ).toEqual([{}, { role: null, content: null, name: null, tool_calls: null }]);
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
  const known = new Set(["role", "content", "name", "tool_calls"]);
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
