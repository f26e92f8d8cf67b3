import { expect, test } from "vitest";

import { createTokenRing } from "./token-ring.ts";

test("the first token is used until it is refused", () => {
  const ring = createTokenRing(["a", "b", "c"]);
  expect([ring.current(), ring.current()]).toEqual(["a", "a"]);
});

test("a refused token gives way to the next one, which is remembered", () => {
  const ring = createTokenRing(["a", "b", "c"]);
  expect(ring.next("a")).toBe("b");
  expect(ring.current()).toBe("b");
  expect(ring.next("b")).toBe("c");
  expect(ring.current()).toBe("c");
});

test("after the last one comes the first again", () => {
  const ring = createTokenRing(["a", "b"]);
  ring.next("a");
  expect(ring.next("b")).toBe("a");
  expect(ring.current()).toBe("a");
});

test("with one token alone there is no other, and it stays", () => {
  const ring = createTokenRing(["a"]);
  expect(ring.next("a")).toBeUndefined();
  expect(ring.current()).toBe("a");
});

test("the same token twice is one token", () => {
  const ring = createTokenRing(["a", "a"]);
  expect(ring.next("a")).toBeUndefined();
  expect(ring.current()).toBe("a");
});

test("many requests refused at once move on by one, not by one each", () => {
  const ring = createTokenRing(["a", "b", "c"]);
  const seconds = Array.from({ length: 50 }, () => ring.next("a"));
  expect(new Set(seconds)).toEqual(new Set(["b"]));
  expect(ring.current()).toBe("b");
});

test("a refusal that comes late does not undo the move", () => {
  const ring = createTokenRing(["a", "b", "c"]);
  ring.next("a");
  ring.next("b");
  expect(ring.next("a")).toBe("c");
  expect(ring.current()).toBe("c");
});
