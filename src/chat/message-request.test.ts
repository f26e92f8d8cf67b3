import * as fc from "fast-check";
import { describe, expect, test } from "vitest";

import { Problem } from "../problem.ts";
import {
  createMessageSchema,
  parseBody,
  parseChatId,
  parseIdempotencyKey,
  readRawChatId,
} from "./message-request.ts";

describe("chat ids", () => {
  test.each(["a", "0", "_", "-", "abc-DEF_123", "x".repeat(128)])("%s is let through", (id) => {
    expect(parseChatId(id)).toBe(id);
  });

  test.each([
    "",
    "x".repeat(129),
    ".",
    "..",
    "...",
    "a.b",
    "a b",
    "a/b",
    "a\\b",
    "a%2fb",
    "%2e%2e",
    "%61bc",
    "a%00",
    "a\0",
    "abc\n",
    "\nabc",
    "abc\r\n",
    "a?b",
    "a#b",
    "a;b",
    "a@b",
    "a:b",
    "a+b",
    "a~b",
    "é",
    "ａ",
    "a\u200b",
    "🙂",
  ])("%j is not", (id) => {
    expect(parseChatId(id)).toBeUndefined();
  });
});

describe("the raw segment of a URL", () => {
  test.each([
    ["https://bff.example/chat/abc/send", "abc"],
    ["https://bff.example/chat/abc", "abc"],
    ["https://bff.example/chat/abc/", "abc"],
    ["https://bff.example/chat/abc?x=/y/z", "abc"],
    ["https://bff.example/chat/abc#/y", "abc"],
    ["http://127.0.0.1:8787/chat/abc/send?a#b", "abc"],
    ["http://[::1]:8787/chat/abc/send", "abc"],
    ["https://bff.example/chat/%61bc/send", "%61bc"],
    ["https://bff.example/chat/a%2Fb/send", "a%2Fb"],
    ["https://bff.example/chat//send", ""],
  ])("of %s is %j", (url, segment) => {
    expect(readRawChatId(url)).toBe(segment);
  });
});

test("the raw segment below a prefix is that after the prefix, and none if the prefix is encoded", () => {
  for (const rest of ["", "/send", "?x=/y", "#/y"]) {
    expect(readRawChatId(`https://bff.example/api/x/chat/abc${rest}`, "/api/x")).toBe("abc");
  }
  expect(readRawChatId("https://bff.example/%61pi/x/chat/abc", "/api/x")).toBe("");
  expect(readRawChatId("https://bff.example/chat/abc", "/api/x")).toBe("");
});

/** The contract's rule, letter by letter. */
function isChatId(text: string): boolean {
  const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
  const units = text.split("");
  return units.length >= 1 && units.length <= 128 && units.every((unit) => letters.includes(unit));
}

const segments = fc.oneof(
  fc.stringMatching(/^[A-Za-z0-9_-]{0,130}$/),
  fc.stringMatching(/^[A-Za-z0-9_%.~\\;:@-]{0,12}$/),
  fc.string({ unit: "binary", maxLength: 20 }),
  fc.webPath(),
);

test("what is read from a URL is let through exactly when it is a chat id", () => {
  fc.assert(
    fc.property(segments, fc.constantFrom("/send", "", "/end", "?q", "#h"), (text, rest) => {
      const raw = readRawChatId(`https://bff.example/chat/${text}${rest}`);
      const segment = text.split(/[/?#]/)[0] ?? "";
      expect(raw).toBe(segment);
      expect(parseChatId(raw)).toBe(isChatId(segment) ? segment : undefined);
    }),
    { numRuns: 1_000 },
  );
});

test("an id that is let through is the whole segment of the parsed URL: nothing is hidden in it", () => {
  fc.assert(
    fc.property(segments, (text) => {
      const url = new URL(`https://bff.example/chat/${text}/send`);
      const id = parseChatId(readRawChatId(url.href));
      fc.pre(id !== undefined);
      expect(url.pathname.split("/")[2]).toBe(id);
      expect(encodeURIComponent(String(id))).toBe(id);
    }),
    { numRuns: 1_000 },
  );
});

describe("idempotency keys", () => {
  test("no header is no key", () => {
    expect(parseIdempotencyKey(null)).toBeUndefined();
  });

  test.each(["a", "!", "~", '"quoted"', "a,b", "8e03978e-40d5-43dd-bc93-6894a57f9324"])(
    "%j is a key, as it is",
    (header) => {
      expect(parseIdempotencyKey(header)).toBe(header);
    },
  );

  test("255 characters are a key, 256 are none", () => {
    expect(parseIdempotencyKey("k".repeat(255))).toBe("k".repeat(255));
    expect(parseIdempotencyKey("k".repeat(256))).toBeNull();
  });

  test.each([
    "",
    " ",
    "a b",
    " a",
    "a ",
    "a\n",
    "\na",
    "\t",
    "\0",
    "\u007f",
    "\u0080",
    "é",
    "🙂",
    "a, b",
  ])("%j is not valid", (header) => {
    expect(parseIdempotencyKey(header)).toBeNull();
  });

  test("a key is 1 to 255 visible ASCII characters, and nothing else is", () => {
    const headers = fc.oneof(
      fc.string({ unit: "binary", maxLength: 300 }),
      fc.string({ minLength: 250, maxLength: 260 }),
    );
    fc.assert(
      fc.property(headers, (header) => {
        const units = header.split("").map((unit) => unit.charCodeAt(0));
        const visible = units.every((unit) => unit > 0x20 && unit < 0x7f);
        const valid = visible && units.length >= 1 && units.length <= 255;
        expect(parseIdempotencyKey(header)).toBe(valid ? header : null);
      }),
    );
  });
});

const CHARS_MAX = 10;
const schema = createMessageSchema(CHARS_MAX);
const encode = (text: string) => new TextEncoder().encode(text);

// Named once as unknown: vitest types its matchers as any.
const ANY_STRING: unknown = expect.any(String);
const ANY_ARRAY: unknown = expect.any(Array);

/** The body as it was taken, or the problem that refused it. */
function read(body: string | Uint8Array): unknown {
  try {
    return parseBody(typeof body === "string" ? encode(body) : body, schema);
  } catch (error) {
    if (error instanceof Problem) return { code: error.code, errors: error.extras.errors };
    throw error;
  }
}

const readContent = (content: unknown) => read(JSON.stringify({ content }));
const refusedAt = (...pointers: string[]) => ({
  code: "invalid_request",
  errors: pointers.map((pointer) => ({ pointer, detail: ANY_STRING })),
});

describe("a message", () => {
  test.each(["Hi", " Hi ", "a\n\tb", "é", "日本語", "\u200b", "\0x", "<b>&amp;"])(
    "%j is passed on verbatim",
    (content) => {
      expect(readContent(content)).toEqual({ content });
    },
  );

  test("may be written with escapes and spaces, and after a byte order mark", () => {
    expect(read(' {\n"content" : "\\u0048i" } ')).toEqual({ content: "Hi" });
    expect(read('\ufeff{"content":"Hi"}')).toEqual({ content: "Hi" });
  });

  test("is measured in code points, not in UTF-16 units or bytes", () => {
    expect(readContent("🙂".repeat(10))).toEqual({ content: "🙂".repeat(10) });
    expect(readContent("é".repeat(10))).toEqual({ content: "é".repeat(10) });
    expect(readContent("🙂".repeat(11))).toEqual(refusedAt("/content"));
    expect(readContent(`${"🙂".repeat(10)}x`)).toEqual(refusedAt("/content"));
    expect(readContent("x".repeat(11))).toEqual(refusedAt("/content"));
    // Half a pair is a code point of its own.
    expect(readContent("\ud83d".repeat(11))).toEqual(refusedAt("/content"));
  });

  test("of any text is accepted exactly when it is short enough and not all space", () => {
    const texts = fc.oneof(
      fc.string({ unit: "binary", maxLength: 14 }),
      fc.string({ unit: fc.constantFrom("\ud83d", "\ude42", "a", " ", "🙂"), maxLength: 24 }),
    );
    fc.assert(
      fc.property(texts, (content) => {
        const right = content.trim() !== "" && Array.from(content).length <= CHARS_MAX;
        const result = readContent(content);
        expect(result).toMatchObject(right ? { content } : { code: "invalid_request" });
      }),
      { numRuns: 1_000 },
    );
  });
});

describe("refused is", () => {
  test.each(["", " ", "\n\t\r ", "\u00a0\u2003\u3000\ufeff"])(
    "nothing but space: %j",
    (content) => {
      expect(readContent(content)).toEqual(refusedAt("/content"));
    },
  );

  test.each([null, 1, true, {}, ["Hi"], { content: "Hi" }])("a content of %j", (content) => {
    expect(readContent(content)).toEqual(refusedAt("/content"));
  });

  test.each(["{}", '{"Content":"Hi"}', '{"content ":"Hi"}'])("no content: %s", (body) => {
    expect(read(body)).toMatchObject({
      code: "invalid_request",
      errors: expect.arrayContaining([expect.objectContaining({ pointer: "/content" })]) as unknown,
    });
  });

  test.each(["null", "[]", '"Hi"', "42", '[{"content":"Hi"}]'])("no object: %s", (body) => {
    expect(read(body)).toEqual(refusedAt(""));
  });

  test.each([
    "workspaceId",
    "workspace_id",
    "role",
    "metadata",
    "constructor",
    "toString",
    "__proto__",
    "",
  ])("the member %j beside a good content", (member) => {
    expect(read(`{"content":"Hi",${JSON.stringify(member)}:42}`)).toEqual(refusedAt(`/${member}`));
  });

  test.each([
    "",
    " ",
    "{",
    "content=Hi",
    '{"content":"Hi"}}',
    "{'content':'Hi'}",
    '{"content":"a\n"}',
  ])("what is no JSON: %j", (body) => {
    expect(read(body)).toEqual(refusedAt(""));
  });

  test.each([
    ["a lone continuation byte", [0x80]],
    ["an overlong slash", [0xc0, 0xaf]],
    ["a surrogate in UTF-8", [0xed, 0xa0, 0x80]],
    ["Latin-1", [0xe9]],
    ["a cut character", [0xf0, 0x9f, 0x99]],
  ])("invalid UTF-8: %s", (_what, bytes) => {
    const body = Uint8Array.of(...encode('{"content":"a'), ...bytes, ...encode('"}'));
    expect(read(body)).toEqual(refusedAt(""));
  });

  test("UTF-16", () => {
    expect(read(new Uint8Array(Buffer.from('{"content":"Hi"}', "utf16le")))).toEqual(refusedAt(""));
  });
});

describe("what a refusal says", () => {
  test("points at each fault by RFC 6901", () => {
    expect(read('{"content":1,"a/b~c":2,"d e":3}')).toEqual({
      code: "invalid_request",
      errors: expect.arrayContaining([
        { pointer: "/content", detail: "must be a string" },
        { pointer: "/a~1b~0c", detail: ANY_STRING },
        { pointer: "/d e", detail: ANY_STRING },
      ]) as unknown,
    });
  });

  test("is ten faults at most, however many there are", () => {
    const body = Object.fromEntries(Array.from({ length: 500 }, (_, index) => [`m${index}`, 1]));
    const { errors } = read(JSON.stringify(body)) as { errors: unknown[] };
    expect(errors).toHaveLength(10);
  });

  test("never repeats a value", () => {
    const secret = "hunter2-the-password";
    const bodies = [
      JSON.stringify({ content: secret.repeat(2) }),
      JSON.stringify({ content: { secret } }),
      JSON.stringify({ content: "Hi", extra: secret }),
      `{"content":"${secret}`,
      secret,
    ];
    for (const body of bodies) {
      const refusal = JSON.stringify(read(body));
      expect(refusal).toContain("invalid_request");
      expect(refusal).not.toContain(secret);
    }
  });
});

test("whatever bytes come, they are a message of one member or a refusal", () => {
  const bodies = fc.oneof(
    fc.uint8Array(),
    fc.json().map(encode),
    fc.json().map((json) => encode(`{"content":${json}}`)),
  );
  fc.assert(
    fc.property(bodies, (bytes) => {
      const outcomes = [{ content: ANY_STRING }, { code: "invalid_request", errors: ANY_ARRAY }];
      expect(outcomes).toContainEqual(read(bytes));
    }),
  );
});
