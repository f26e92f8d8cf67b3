import * as fc from "fast-check";
import { describe, expect, test } from "vitest";

import { Problem } from "../problem.ts";
import { createStartSchema, parseStartBody, START_MEMBER_BYTES_MAX } from "./start-body.ts";

const NAMES = ["a", "b", "name"];
const schema = createStartSchema({ variables: new Set(NAMES), metadata: new Set(NAMES) });

const encode = (text: string) => new TextEncoder().encode(text);

/** The body as it was taken, or where it was refused. */
function read(body: string): unknown {
  try {
    return parseStartBody(encode(body), schema);
  } catch (error) {
    if (error instanceof Problem) return error.extras.errors?.map(({ pointer }) => pointer);
    throw error;
  }
}

function taken(text: string): boolean {
  return !Array.isArray(read(`{"metadata": { "a" : "${text}" } }`));
}

describe("the body of a start", () => {
  test("may be absent, and its members too", () => {
    expect(read("")).toEqual({});
    expect(read("{}")).toEqual({});
    expect(read('{"metadata":{}}')).toEqual({ metadata: {} });
    expect(read('{"variables":{"name":"Ann"}}')).toEqual({ variables: { name: "Ann" } });
  });

  test("holds any JSON in its two members", () => {
    fc.assert(
      fc.property(
        fc.dictionary(fc.constantFrom(...NAMES), fc.jsonValue({ maxDepth: 3 })),
        (given) => {
          const text = JSON.stringify({ metadata: given, variables: given });
          fc.pre(encode(JSON.stringify(given)).byteLength <= START_MEMBER_BYTES_MAX);
          const expected: unknown = JSON.parse(text);
          expect(read(text)).toEqual(expected);
        },
      ),
    );
  });

  test.each([
    ['{"workspaceId":43}', ["/workspaceId"]],
    ['{"agent_id":"other","metadata":{}}', ["/agent_id"]],
    ['{"metadata":[],"variables":7}', ["/metadata", "/variables"]],
    ['{"metadata":null}', ["/metadata"]],
    ['{"metadata":{"uponai_bff_owner":1}}', ["/metadata/uponai_bff_owner"]],
    ["[]", [""]],
    ["null", [""]],
    ["{", [""]],
  ])("%s is refused at %j", (body, pointers) => {
    expect(read(body)).toEqual(pointers);
  });

  test("may have the reserved name inside of a value: only a member of that name is the stamp", () => {
    const body = '{"metadata":{"a":{"uponai_bff_owner":1}}}';
    expect(read(body)).toEqual(JSON.parse(body));
  });

  test("holds only names that the operator lists, whatever a value holds", () => {
    const hostile = ["c", "A", "__proto__", "constructor", "toString", "", "a~/b", " a"];
    for (const member of ["metadata", "variables"]) {
      for (const name of hostile) {
        const escaped = name.replaceAll("~", "~0").replaceAll("/", "~1");
        expect(read(`{"${member}":{"a":1,${JSON.stringify(name)}:2}}`)).toEqual([
          `/${member}/${escaped}`,
        ]);
      }
    }
    expect(read('{"variables":{"x":1,"y":2},"metadata":{"z":3}}')).toEqual([
      "/metadata/z",
      "/variables/x",
      "/variables/y",
    ]);
  });

  test("takes no name at all where the operator lists none", () => {
    const none = createStartSchema({ variables: new Set(), metadata: new Set() });
    expect(parseStartBody(encode('{"metadata":{},"variables":{}}'), none)).toEqual({
      metadata: {},
      variables: {},
    });
    expect(() => parseStartBody(encode('{"variables":{"a":1}}'), none)).toThrow(Problem);
  });

  test("is refused at each number that would change, and takes it as a string", () => {
    expect(
      read(
        '{"metadata":{"a":[1,{"b":1e400}]},"variables":{"b":10000000000000001,"name":"1e400","a":0.1}}',
      ),
    ).toEqual(["/metadata/a/1/b", "/variables/b"]);
  });

  test("cannot bring the reserved name in by another spelling", () => {
    expect(read('{"metadata":{"uponai\\u005fbff_owner":1}}')).toEqual([
      "/metadata/uponai_bff_owner",
    ]);
  });

  test("has members of 4,096 bytes of JSON at most, measured in UTF-8 and without spaces", () => {
    const room = START_MEMBER_BYTES_MAX - '{"a":""}'.length;
    expect(taken("x".repeat(room))).toBe(true);
    expect(taken("x".repeat(room + 1))).toBe(false);
    expect(taken("é".repeat(room / 2))).toBe(true);
    expect(taken("é".repeat(room / 2 + 1))).toBe(false);
  });

  test("that is not UTF-8 is refused", () => {
    const bytes = encode('{"metadata":{"a":"x"}}');
    bytes[18] = 0xff;
    expect(() => parseStartBody(bytes, schema)).toThrow(Problem);
  });
});
