import * as fc from "fast-check";
import { describe, expect, test } from "vitest";

import { parseChatId, readRawChatId } from "./chat-id.ts";

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
