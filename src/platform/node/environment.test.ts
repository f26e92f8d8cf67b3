import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import * as fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { variableNames, variables } from "../../config/variables.ts";
import { resolveSecretFiles } from "./environment.ts";

const secretNames = variableNames.filter((name) => "secret" in variables[name]);
const openNames = variableNames.filter((name) => !("secret" in variables[name]));

let folder: string;
let files = 0;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "uponai-bff-secrets-"));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

function write(content: string): string {
  files += 1;
  const path = join(folder, `secret-${files}`);
  writeFileSync(path, content);
  return path;
}

describe("a secret in a file", () => {
  test.each(secretNames)("%s_FILE stands for it", (name) => {
    const { environment, problems } = resolveSecretFiles({ [`${name}_FILE`]: write("s3cret\n") });
    expect(problems).toEqual([]);
    expect(environment[name]).toBe("s3cret");
  });

  test.each([
    ["s3cret", "s3cret"],
    ["s3cret\n", "s3cret"],
    ["s3cret\r\n", "s3cret"],
    ["two\nlines\n", "two\nlines"],
    [" s3cret ", " s3cret "],
    ["", ""],
  ])("%j is read as %j: one line break at its end is no part of it", (content, secret) => {
    const { environment } = resolveSecretFiles({ SESSION_SECRET_FILE: write(content) });
    expect(environment["SESSION_SECRET"]).toBe(secret);
  });

  test("is read whatever it holds", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), (secret) => {
        fc.pre(!/[\r\n]$/.test(secret));
        const { environment } = resolveSecretFiles({ REDIS_URL_FILE: write(`${secret}\n`) });
        expect(environment["REDIS_URL"]).toBe(secret);
      }),
      { numRuns: 30 },
    );
  });
});

describe("what is no secret", () => {
  test.each(openNames)("%s_FILE is not read", (name) => {
    const { environment, problems } = resolveSecretFiles({ [`${name}_FILE`]: write("value") });
    expect(environment[name]).toBeUndefined();
    expect(problems).toEqual([]);
  });

  test("the other variables stay as they are, and so does the environment that was given", () => {
    const given = { PATH: "/bin", PORT: "1", SESSION_SECRET_FILE: write("s3cret") };
    const before = { ...given };
    const { environment } = resolveSecretFiles(given);
    expect(environment).toMatchObject({ PATH: "/bin", PORT: "1" });
    expect(given).toEqual(before);
  });

  test("NAME_FILE set to nothing counts as unset", () => {
    const { environment, problems } = resolveSecretFiles({
      SESSION_SECRET: "direct",
      SESSION_SECRET_FILE: "",
    });
    expect(environment["SESSION_SECRET"]).toBe("direct");
    expect(problems).toEqual([]);
  });
});

describe("a problem", () => {
  test("is a secret given both ways, and neither is shown", () => {
    const { problems } = resolveSecretFiles({
      SESSION_SECRET: "direct-s3cret",
      SESSION_SECRET_FILE: write("file-s3cret"),
    });
    expect(problems).toHaveLength(1);
    expect(problems[0]?.variable).toBe("SESSION_SECRET_FILE");
    expect(problems[0]?.problem).toContain("SESSION_SECRET");
    expect(JSON.stringify(problems)).not.toContain("s3cret");
  });

  test("is not a file beside an empty variable", () => {
    const path = write("file");
    const result = resolveSecretFiles({ SESSION_SECRET: "", SESSION_SECRET_FILE: path });
    expect(result.problems).toEqual([]);
    expect(result.environment["SESSION_SECRET"]).toBe("file");
  });

  test("is a file that is not there, or is a folder; each is named with an example", () => {
    const { environment, problems } = resolveSecretFiles({
      SESSION_SECRET_FILE: join(folder, "absent"),
      REDIS_URL_FILE: folder,
    });
    expect(problems.map(({ variable }) => variable)).toEqual([
      "SESSION_SECRET_FILE",
      "REDIS_URL_FILE",
    ]);
    for (const { example } of problems) expect(example).toMatch(/^\/run\/secrets\/[a-z_]+$/);
    expect(environment["SESSION_SECRET"]).toBeUndefined();
  });
});
