import * as fc from "fast-check";
import { describe, expect, test } from "vitest";

import { problemCodes } from "../problem.ts";
import { parseCompletion } from "../upstream/message-schema.ts";
import type { ProviderMessage } from "./chat-provider.ts";
import { formatReply, messagesSchema, parseReply, presentMessages } from "./present-messages.ts";

const TOOL_CALLS = [{ id: "call-1", function: { name: "look_up", arguments: "{}" } }];

const present = (...messages: ProviderMessage[]) => presentMessages(messages, false);

describe("without tool calls", () => {
  test("what assistant and user say comes through, in order", () => {
    const messages = [
      { role: "user", content: "Hi" },
      { role: "assistant", content: "Hello", name: "helper" },
    ];
    expect(present(...messages)).toEqual(messages);
  });

  test.each([{}, { role: null }, { role: undefined }])("no role (%j) is assistant", (message) => {
    expect(present({ ...message, content: "Hello" })).toEqual([
      { role: "assistant", content: "Hello" },
    ]);
  });

  test.each(["system", "tool", "function", "developer", "Assistant", "USER", ""])(
    "what the role %j says is left out",
    (role) => {
      expect(present({ role, content: "internal instructions" })).toEqual([]);
    },
  );

  test.each([{}, { content: null }, { content: "" }])("no text (%j) is left out", (message) => {
    expect(present({ role: "assistant", toolCalls: TOOL_CALLS, ...message })).toEqual([]);
  });

  test("tool calls beside a text are left out, the text is not", () => {
    expect(present({ role: "assistant", content: "One moment", toolCalls: TOOL_CALLS })).toEqual([
      { role: "assistant", content: "One moment" },
    ]);
  });

  test("a name that is null is no name", () => {
    const [message] = present({ role: "assistant", content: "Hi", name: null });
    expect(message).not.toHaveProperty("name");
  });
});

describe("with tool calls exposed", () => {
  test("they come through, and so do messages of other roles or without a text", () => {
    const messages = [
      { role: "assistant", content: null, toolCalls: TOOL_CALLS },
      { role: "tool", content: "42" },
    ];
    expect(presentMessages(messages, true)).toEqual([
      { role: "assistant", content: "", tool_calls: TOOL_CALLS },
      { role: "tool", content: "42" },
    ]);
  });

  test("a message without any has no such member", () => {
    const [message] = presentMessages([{ content: "Hi", toolCalls: null }], true);
    expect(message).toEqual({ role: "assistant", content: "Hi" });
    expect(message).not.toHaveProperty("tool_calls");
  });
});

describe("whatever JSON the upstream sends", () => {
  const known = fc.record(
    {
      role: fc.oneof(fc.constantFrom("assistant", "user", "system", "tool"), fc.string()),
      content: fc.option(fc.string()),
      name: fc.option(fc.string()),
      tool_calls: fc.option(fc.array(fc.dictionary(fc.string(), fc.jsonValue()))),
    },
    { requiredKeys: [] },
  );
  const messages = fc
    .tuple(fc.dictionary(fc.string(), fc.jsonValue()), known)
    .map(([others, message]) =>
      Object.assign({ secret: "internal-data", chatCost: 1 }, others, message),
    );
  const bodies = fc.record({ messages: fc.array(messages), metadata: fc.jsonValue() });

  test("nothing but the allowed members comes out", () => {
    fc.assert(
      fc.property(bodies, fc.boolean(), (body, exposed) => {
        const parsed = parseCompletion(JSON.stringify(body)) ?? [];
        const presented = presentMessages(parsed, exposed);
        expect(messagesSchema.safeParse({ messages: presented }).success).toBe(true);
        const members = presented.flatMap((message) => Object.keys(message));
        const allowed = new Set(["role", "content", "name", ...(exposed ? ["tool_calls"] : [])]);
        expect(members.filter((member) => !allowed.has(member))).toEqual([]);
        expect(JSON.stringify(presented)).not.toContain("internal-data");
      }),
    );
  });

  test("what is shown was said, by assistant or user, and nothing that was said is lost", () => {
    fc.assert(
      fc.property(bodies, (body) => {
        const parsed = parseCompletion(JSON.stringify(body)) ?? [];
        const said = parsed.flatMap(({ role, content }) =>
          ["assistant", "user"].includes(role ?? "assistant") && content ? [content] : [],
        );
        const presented = presentMessages(parsed, false);
        expect(presented.map(({ content }) => content)).toEqual(said);
      }),
    );
  });
});

describe("a stored answer", () => {
  test("an answer that was stored is the same answer again", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (json) => {
        const reply = { kind: "messages", json } as const;
        expect(parseReply(formatReply(reply))).toEqual(reply);
      }),
    );
  });

  test.each(problemCodes)("the problem %s is the same problem again", (code) => {
    expect(parseReply(formatReply({ kind: "problem", code }))).toEqual({ kind: "problem", code });
  });

  test.each([
    "",
    "m",
    "p",
    "p ",
    "p no_such_problem",
    "p toString",
    "x {}",
    " m {}",
    "messages {}",
  ])("%j is nothing that this version wrote", (text) => {
    expect(parseReply(text)).toBeUndefined();
  });

  test("an answer costs two characters more than itself", () => {
    const json = JSON.stringify({ messages: [{ role: "assistant", content: "é".repeat(1_000) }] });
    expect(formatReply({ kind: "messages", json })).toHaveLength(json.length + 2);
  });
});
