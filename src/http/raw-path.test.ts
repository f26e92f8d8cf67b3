import * as fc from "fast-check";
import { describe, expect, test } from "vitest";

import { hasDotSegments } from "./raw-path.ts";

describe("a request target", () => {
  test.each([
    "/..",
    "/.",
    "/./",
    "/../",
    "..",
    ".",
    "/chat/../abc",
    "/chat/./abc/send",
    "/chat/x/%2e%2e/abc/send",
    "/chat/x/%2E%2e/abc/send",
    "/chat/x/.%2e/abc/send",
    "/chat/x/%2E./abc/send",
    "/chat/%2e/abc/send",
    "/chat/abc/send/%2e%2e",
    "/chat/abc/send/..?x",
    "/chat/abc/send/.#x",
    "/chat\\..\\healthz",
    "/chat/x\\%2e%2e\\abc/send",
    "/chat/x%2f..%2Fabc/send",
    "/chat/x%5c%2e%2e%5Cabc/send",
    "/chat/x/.\t./abc/send",
    "/chat/x/.\n%2e/abc/send",
    "/chat/x/.. ",
    "/chat/x/. ./abc/send",
    "//../x",
    "//x/..",
    "http://host/../x",
    "http://host/x/%2e%2e/y",
    "http:\\\\host\\..\\x",
  ])("with dot segments is found: %j", (target) => {
    expect(hasDotSegments(target)).toBe(true);
  });

  test.each([
    "",
    "*",
    "/",
    "//",
    "/healthz",
    "/openapi.json",
    "/.well-known/x",
    "/chat/.../send",
    "/chat/a..b/send",
    "/chat/..a/send",
    "/chat/a./send",
    "/chat/%2e%2e%2e/send",
    "/chat/%252e%252e/send",
    "/chat/%2ea/send",
    "/chat/abc?x=/../y",
    "/chat/abc?../y",
    "/chat/abc#/../y",
    "/chat/é/send",
    "/chat/%zz/send",
    "http://www.example.com/chat/abc?x=/..",
    "host.example:443",
  ])("without is not: %j", (target) => {
    expect(hasDotSegments(target)).toBe(false);
  });
});

const PIECES =
  "/ / \\ . .. %2e %2E %2f %5C a chat % %25 é 🙂 ? # ; : @ \t \n \r \u0001 // %00 [ |".split(" ");
const pieces = fc.constantFrom(" ", ...PIECES);
const targets = fc
  .array(pieces, { maxLength: 14 })
  .map((parts) => `/${parts.join("")}`)
  // After several slashes the URL parser would read a host.
  .filter((target) => URL.canParse(`http://host${target}`));

/** The raw path, as the parser would leave it if it resolved nothing. */
function countSegments(target: string): number {
  const [path = ""] = target
    .replace(/[\t\n\r]/g, "")
    .replaceAll("\\", "/")
    .split(/[?#]/);
  return path.split("/").length;
}

test("if none is found, the URL parser resolves nothing: all segments stay in place", () => {
  fc.assert(
    fc.property(fc.oneof(targets, fc.webPath().map(toTarget)), (target) => {
      fc.pre(!hasDotSegments(target));
      expect(new URL(`http://host${target}`).pathname.split("/")).toHaveLength(
        countSegments(target),
      );
      // The same target in absolute form has the same path.
      expect(hasDotSegments(`http://host${target}`)).toBe(false);
    }),
    { numRuns: 5_000 },
  );
});

test("if one is found, a segment consists of one or two dots", () => {
  fc.assert(
    fc.property(targets, (target) => {
      const [path = ""] = target.replace(/[\0- ]/g, "").split(/[?#]/);
      const segments = path.split(/[/\\]|%2f|%5c/i);
      const dots = segments.map((segment) => segment.replace(/%2e/gi, "."));
      expect(hasDotSegments(target)).toBe(dots.some((text) => text === "." || text === ".."));
    }),
    { numRuns: 5_000 },
  );
});

function toTarget(path: string): string {
  return path.startsWith("/") ? path : `/${path}`;
}

test("a long target takes no more time than reading it", () => {
  const target = `/${"%2e%2e%2e".repeat(20_000)}${"/a.".repeat(20_000)}`;
  const startedMs = performance.now();
  expect(hasDotSegments(target)).toBe(false);
  expect(performance.now() - startedMs).toBeLessThan(1_000);
});
