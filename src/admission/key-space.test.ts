import * as fc from "fast-check";
import { expect, test } from "vitest";

import { createMemoryKeySpace } from "./key-space.ts";

test("a text is there until its time, and not at it", () => {
  let nowUs = 100;
  const space = createMemoryKeySpace(() => nowUs);
  space.write("key", "text", 200);
  expect(space.read("key")).toEqual({ text: "text", expiresAtUs: 200 });
  nowUs = 199;
  expect(space.read("key")?.text).toBe("text");
  nowUs = 200;
  expect(space.read("key")).toBeUndefined();
});

test("writing again replaces both the text and its time", () => {
  let nowUs = 0;
  const space = createMemoryKeySpace(() => nowUs);
  space.write("key", "one", 10);
  space.write("key", "two", 5);
  nowUs = 5;
  expect(space.read("key")).toBeUndefined();
});

test("what is deleted is gone, and deleting nothing is no fault", () => {
  const space = createMemoryKeySpace(() => 0);
  space.write("key", "text", 10);
  space.delete("key");
  space.delete("key");
  expect(space.read("key")).toBeUndefined();
  expect(space.size()).toBe(0);
});

test("whatever is done to it, it reads like a list of all that was ever written", () => {
  const key = fc.constantFrom("a", "b", "c", "__proto__", "");
  const steps = fc.array(
    fc.oneof(
      fc.record({ do: fc.constant("write" as const), key, text: fc.string(), forUs: fc.nat(9) }),
      fc.record({ do: fc.constant("delete" as const), key }),
      fc.record({ do: fc.constant("wait" as const), us: fc.nat(5) }),
    ),
    { maxLength: 60 },
  );
  fc.assert(
    fc.property(steps, (all) => {
      let nowUs = 0;
      const space = createMemoryKeySpace(() => nowUs);
      const written: { key: string; text: string | undefined; endUs: number }[] = [];
      for (const step of all) {
        if (step.do === "wait") nowUs += step.us;
        else if (step.do === "delete") {
          space.delete(step.key);
          written.push({ key: step.key, text: undefined, endUs: 0 });
        } else {
          const endUs = nowUs + step.forUs;
          space.write(step.key, step.text, endUs);
          written.push({ key: step.key, text: step.text, endUs });
        }
        for (const name of ["a", "b", "c", "__proto__", ""]) {
          const last = written.findLast((entry) => entry.key === name);
          const expected = last !== undefined && last.endUs > nowUs ? last.text : undefined;
          expect(space.read(name)?.text).toBe(expected);
        }
      }
    }),
  );
});
