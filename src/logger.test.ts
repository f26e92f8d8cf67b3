import { describe, expect, test } from "vitest";

import { describeDefect } from "./logger.ts";

const SECRET = "hunter2-the-password";

class TokenError extends Error {
  override readonly name = "TokenError";
}

describe("the description of a defect", () => {
  test("has the name of the error and its stack frames", () => {
    const { defect, stack } = describeDefect(new TokenError("broken"));
    expect(defect).toBe("TokenError");
    expect(stack).toMatch(/^at .*logger\.test\.ts:\d+:\d+/);
  });

  test.each([
    ["one line", `cannot read ${SECRET}`],
    ["several lines", `cannot read\n${SECRET}\nas a token`],
    ["a line that looks like a frame", `cannot read\n    at ${SECRET} (file:1:1)`],
    ["nothing but a line that looks like a frame", `    at ${SECRET}`],
  ])("is not its message: %s", (_what, message) => {
    expect(JSON.stringify(describeDefect(new TokenError(message)))).not.toContain(SECRET);
  });

  test("does not have the unparsable text that the parser quotes", () => {
    let thrown: unknown;
    try {
      JSON.parse("x\n    at s3cr");
    } catch (error) {
      thrown = error;
    }
    expect(String(thrown)).toContain("s3cr");
    expect(JSON.stringify(describeDefect(thrown))).not.toContain("s3cr");
  });

  test("does not have its cause", () => {
    const error = new Error("outer", { cause: new Error(SECRET) });
    expect(JSON.stringify(describeDefect(error))).not.toContain(SECRET);
  });

  test("of an error without a stack has only its name", () => {
    const error = new TokenError(SECRET);
    delete error.stack;
    expect(describeDefect(error)).toEqual({ defect: "TokenError" });
  });

  test.each([
    [SECRET, "string"],
    [{ password: SECRET }, "object"],
    [null, "object"],
    [undefined, "undefined"],
    [42, "number"],
  ])("is only the type of what is no error: %j", (thrown, type) => {
    expect(describeDefect(thrown)).toEqual({ defect: type });
  });
});
