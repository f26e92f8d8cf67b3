import * as fc from "fast-check";
import { expect, test } from "vitest";

import { problemCodes } from "../problem.ts";
import { formatReply, parseReply } from "./stored-answer.ts";

test("an answer that was stored is the same answer again", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (json) => {
      const reply = { kind: "messages", json } as const;
      expect(parseReply(formatReply(reply))).toEqual(reply);
    }),
  );
});

test.each(problemCodes)("the problem %s is the same problem again", (code) => {
  expect(parseReply(formatReply({ kind: "problem", code }))).toEqual({ kind: "problem", code });
});

test.each(["", "m", "p", "p ", "p no_such_problem", "p toString", "x {}", " m {}", "messages {}"])(
  "%j is nothing that this version wrote",
  (text) => {
    expect(parseReply(text)).toBeUndefined();
  },
);

test("an answer costs two characters more than itself", () => {
  const json = JSON.stringify({ messages: [{ role: "assistant", content: "é".repeat(1_000) }] });
  expect(formatReply({ kind: "messages", json })).toHaveLength(json.length + 2);
});
