import { expect, test } from "vitest";

import { isPlainJson } from "./media-type.ts";

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
