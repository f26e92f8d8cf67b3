import * as fc from "fast-check";
import { describe, expect, test, vi } from "vitest";

import { hasDotSegments, isPlainJson, parseTraceparent, resolveRequestId } from "./request-head.ts";

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

describe("request ids", () => {
  test.each(["a", "A-b_9", "x".repeat(64)])("%s is kept, and none is made", (incoming) => {
    const createId = vi.fn<() => string>(() => "made");
    expect(resolveRequestId(incoming, createId)).toBe(incoming);
    expect(createId).not.toHaveBeenCalled();
  });

  test.each([
    null,
    "",
    "x".repeat(65),
    "x".repeat(60_000),
    "a b",
    "a,b",
    "a.b",
    "a/b",
    "a\n",
    '"},{"level":"fatal',
    "é",
    "%61",
    " a",
  ])("%j is replaced", (incoming) => {
    expect(resolveRequestId(incoming, () => "made")).toBe("made");
  });

  test("the id is safe in a header and a log line, for any input", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 70 }), (incoming) => {
        const id = resolveRequestId(incoming, () => "made");
        expect(id).toMatch(/^[A-Za-z0-9_-]{1,64}$/);
        expect([incoming, "made"]).toContain(id);
      }),
    );
  });
});

describe("trace contexts", () => {
  const TRACE = "4bf92f3577b34da6a3ce929d0e0e4736";
  const SPAN = "00f067aa0ba902b7";

  test.each([`00-${TRACE}-${SPAN}-01`, `00-${TRACE}-${SPAN}-00`])("%s is continued", (incoming) => {
    expect(parseTraceparent(incoming)).toBe(incoming);
  });

  test.each([
    null,
    "",
    `00-${"0".repeat(32)}-${SPAN}-01`,
    `00-${TRACE}-${"0".repeat(16)}-01`,
    `00-${TRACE.toUpperCase()}-${SPAN}-01`,
    `ff-${TRACE}-${SPAN}-01`,
    `00-${TRACE}-${SPAN}`,
    `00-${TRACE}-${SPAN}-01-extra`,
    `00-${TRACE}-${SPAN}-01\r\nX-Evil: 1`,
    `00-${TRACE}-${SPAN}-01\n`,
    ` 00-${TRACE}-${SPAN}-01`,
    `00-${TRACE}-${SPAN}-01, 00-${TRACE}-${SPAN}-01`,
    `00-${TRACE.slice(1)}-${SPAN}-01`,
    `00-${TRACE.replace("4", "g")}-${SPAN}-01`,
  ])("%j does not", (incoming) => {
    expect(parseTraceparent(incoming)).toBeUndefined();
  });
});

describe("content types", () => {
  test.each([
    "application/json",
    "APPLICATION/JSON",
    "application/json;charset=utf-8",
    "application/json; charset=UTF-8",
    'application/json; charset="utf-8"',
    "application/json ;\tCharset=utf-8 ",
    "application/json;",
    "application/json; charset=utf8",
    'application/json;charset="UTF8" ',
    `application/json${" ".repeat(240)}`,
  ])("%j is JSON", (type) => {
    expect(isPlainJson(type, null)).toBe(true);
  });

  test.each([
    null,
    "",
    "text/plain",
    "text/json",
    "application/jsonp",
    "application/json5",
    "application/problem+json",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=application/json",
    "text/plain; application/json",
    "application/json, text/plain",
    "text/plain, application/json",
    "application/json; charset=utf-16",
    "application/json; charset=iso-8859-1",
    "application/json; charset=utf-8; charset=utf-16",
    "application/json; profile=x",
    'application/json; charset="utf-8',
    "application/json; charset=utf--8",
    "application/json; charset=utf-88",
    `application/json${" ".repeat(241)}`,
    "application/json charset=utf-8",
    " application/json",
    "application/json\n",
  ])("%j is not", (type) => {
    expect(isPlainJson(type, null)).toBe(false);
  });

  test.each([
    `application/json;${" ".repeat(31_000)}x`,
    `application/json${"\t ".repeat(15_500)};x`,
    `application/json;charset=utf-8${" ".repeat(31_000)}x`,
    `${" ".repeat(31_000)}application/json`,
  ])("a long run of white space is refused at once (%#)", (type) => {
    const startedMs = performance.now();
    for (let count = 0; count < 20; count += 1) expect(isPlainJson(type, null)).toBe(false);
    // Quadratic matching took 2 s for the first of these, once.
    expect(performance.now() - startedMs).toBeLessThan(500);
  });

  test.each(["gzip", "br", "deflate", "identity", "", "gzip, identity"])(
    "JSON in the content encoding %j is not plain",
    (encoding) => {
      expect(isPlainJson("application/json", encoding)).toBe(false);
    },
  );
});
