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
  "application/json charset=utf-8",
  " application/json",
  "application/json\n",
])("%j is not", (type) => {
  expect(isPlainJson(type, null)).toBe(false);
});

test.each(["gzip", "br", "deflate", "identity", "", "gzip, identity"])(
  "JSON in the content encoding %j is not plain",
  (encoding) => {
    expect(isPlainJson("application/json", encoding)).toBe(false);
  },
);
