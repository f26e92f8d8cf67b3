import * as fc from "fast-check";
import { describe, expect, test } from "vitest";

import { workspaceTable } from "./workspace-table.ts";

function read(table: unknown) {
  return workspaceTable.safeParse(typeof table === "string" ? table : JSON.stringify(table));
}

const messagesOf = (table: unknown) =>
  read(table).error?.issues.map(({ message }) => message) ?? [];

describe("what is accepted", () => {
  test("an id alone, and an entry with everything", () => {
    const full = {
      id: 43,
      agentId: "agent-1",
      apiToken: "new,old",
      limits: { session: "5/1m;burst=2", sessionDaily: "off", workspace: "1/1s" },
    };
    expect([...(read({ acme: 42, globex: full }).data ?? [])]).toEqual([
      ["acme", { id: 42, apiToken: undefined, limits: undefined }],
      [
        "globex",
        {
          id: 43,
          agentId: "agent-1",
          apiToken: ["new", "old"],
          limits: {
            session: { quota: 5, windowSeconds: 60, burst: 2 },
            sessionDaily: "off",
            workspace: { quota: 1, windowSeconds: 1, burst: 1 },
          },
        },
      ],
    ]);
  });

  test("names such as constructor are found only where the operator wrote them", () => {
    const inherited = ["constructor", "__proto__", "toString", "hasOwnProperty", "size", "get"];
    const table = read({ acme: 42 }).data;
    for (const name of inherited) expect(table?.get(name)).toBeUndefined();
    expect(read('{"constructor":42}').data?.get("constructor")?.id).toBe(42);
  });

  test("a table that has __proto__ as a claim changes no prototype", () => {
    read('{"acme":1,"__proto__":{"id":666}}');
    read('{"acme":{"id":1,"limits":{"__proto__":{"session":"off"}}}}');
    expect(Reflect.get({}, "id")).toBeUndefined();
    expect(Reflect.get({}, "session")).toBeUndefined();
  });
});

describe("what is refused", () => {
  test.each([
    ["no JSON", "acme=42"],
    ["nothing", ""],
    ["a list", "[]"],
    ["a number", "42"],
    ["null", "null"],
    ["no workspace at all", "{}"],
    ["an empty claim", { "": 42 }],
    ["the id 0", { acme: 0 }],
    ["the id 0 in an entry", { acme: { id: 0 } }],
    ["a negative id", { acme: -42 }],
    ["a fraction", { acme: 4.2 }],
    ["an id past the safe integers", '{"acme":9007199254740993}'],
    ["an id as text", { acme: "42" }],
    ["null for a workspace", { acme: null }],
    ["a list for a workspace", { acme: [42] }],
    ["an entry without an id", { acme: { apiToken: "t" } }],
    ["an unknown member", { acme: { id: 42, workspace: 43 } }],
    ["an inherited name as a member", { acme: { id: 42, toString: 1 } }],
    ["__proto__ as a member", '{"acme":{"id":42,"__proto__":{"apiToken":"t"}}}'],
    ["an unknown limit", { acme: { id: 42, limits: { sesion: "5/1m" } } }],
    [
      "a limit by address, which no workspace can set",
      { acme: { id: 42, limits: { ip: "1/1s" } } },
    ],
    ["__proto__ as a limit", '{"acme":{"id":42,"limits":{"__proto__":"off"}}}'],
    ["a zero limit", { acme: { id: 42, limits: { session: "0/1m" } } }],
    ["a limit under a microsecond", { acme: { id: 42, limits: { session: "2000000/1s" } } }],
    ["a limit as a number", { acme: { id: 42, limits: { session: 5 } } }],
    ["limits as text", { acme: { id: 42, limits: "5/1m" } }],
    ["an empty token", { acme: { id: 42, apiToken: "" } }],
    ["a token with a line break", { acme: { id: 42, apiToken: "t\nX-Evil: 1" } }],
    ["an empty token among several", { acme: { id: 42, apiToken: "a,,b" } }],
    ["a list of tokens", { acme: { id: 42, apiToken: ["a"] } }],
    ["an empty agent", { acme: { id: 42, agentId: "" } }],
    ["one wrong workspace among right ones", { acme: 42, globex: 0 }],
  ])("%s", (_what, table) => {
    expect(read(table).success).toBe(false);
    expect(messagesOf(table).join()).toMatch(/\S/);
  });

  test("the message leads to the entry by its position, and to our own member by its name", () => {
    expect(messagesOf({ acme: 42, globex: { id: 43, limits: { sesion: "off" } } })).toEqual([
      expect.stringMatching(/^entry 2: .*limits.*member that does not exist.*sessionDaily/),
    ]);
    expect(messagesOf({ globex: { id: 43, limits: { session: "5" } } })).toEqual([
      expect.stringMatching(/^entry 1: .*limits session.*quota/),
    ]);
    expect(messagesOf({ globex: { id: 0 } })).toEqual([
      expect.stringMatching(/^entry 1: .*id must be/),
    ]);
  });

  test("positions are those of the text, where JavaScript puts numbers first", () => {
    const text = String.raw`{"b:\"{":1,"a":{"id":2,"limits":{"session":"5/1m"}},"10":0,"2":3}`;
    expect(messagesOf(text)).toEqual([expect.stringMatching(/^entry 3: /)]);
  });

  test("no name of a claim and no unknown member is repeated", () => {
    const claim = "claim-canary";
    const faults: readonly unknown[] = [
      "x",
      { id: 0 },
      { id: 1, "member-canary": 2 },
      { id: 1, limits: { "limit-canary": "off" } },
      { id: 1, limits: { session: "value-canary" } },
      { id: 1, agentId: "value canary" },
      { id: 1, apiToken: ["value-canary"] },
    ];
    for (const fault of faults) {
      const messages = messagesOf({ [claim]: fault });
      expect(messages).toHaveLength(1);
      expect(messages.join()).not.toContain("canary");
    }
  });

  test("a claim that is there twice is refused: which of them would be meant?", () => {
    expect(messagesOf('{"acme":1,"globex":2,"acme":1}')).toEqual([
      "entry 3: has the same key as an earlier entry",
    ]);
    expect(messagesOf('{"a\\u0062":1,"ab":2}')).toHaveLength(1);
    expect(messagesOf('{"acme":{"id":1},"globex":{"id":2}}')).toEqual([]);
  });

  test("a table that is wrong throughout is told by its first twenty entries", () => {
    const wrong = Object.fromEntries(Array.from({ length: 500 }, (_, index) => [`c${index}`, 0]));
    expect(messagesOf(wrong)).toHaveLength(20);
  });
});

test("any text is either a table of positive ids or refused, and none throws", () => {
  fc.assert(
    fc.property(fc.oneof(fc.string({ unit: "binary" }), fc.json()), (text) => {
      const { data } = read(text);
      for (const entry of data?.values() ?? []) {
        expect(Number.isSafeInteger(entry.id) && entry.id > 0).toBe(true);
      }
    }),
  );
});
