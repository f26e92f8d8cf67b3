import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import * as fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { cleanText } from "../../config/clean-environment.ts";
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

function write(content: string | Uint8Array): string {
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
    ["\uFEFFs3cret", "s3cret"],
    ["\uFEFFs3cret\r\n", "s3cret"],
  ])("%j is read as %j: one line break at its end is no part of it", (content, secret) => {
    const { environment } = resolveSecretFiles({ SESSION_SECRET_FILE: write(content) });
    expect(environment["SESSION_SECRET"]).toBe(secret);
  });

  test("is read whatever it holds", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), (secret) => {
        fc.pre(!/^\uFEFF|[\r\n]$|\0/.test(secret) && cleanText(secret) !== "");
        const { environment } = resolveSecretFiles({ REDIS_URL_FILE: write(`${secret}\n`) });
        expect(environment["REDIS_URL"]).toBe(secret);
      }),
      { numRuns: 30 },
    );
  });
});

const read = (path: string) => resolveSecretFiles({ SESSION_SECRET_FILE: path });
const utf16 = (text: string) => Buffer.from(text, "utf16le");

describe("what a file may be", () => {
  test("UTF-16 with its byte order mark, as PowerShell writes it, is decoded", () => {
    const little = utf16("\uFEFFgéheim\r\n");
    expect(read(write(little)).environment["SESSION_SECRET"]).toBe("géheim");
    const big = Buffer.from(little).swap16();
    expect(read(write(big)).environment["SESSION_SECRET"]).toBe("géheim");
  });

  const refused: readonly (readonly [string, () => string, string])[] = [
    ["UTF-16 without a mark", () => write(utf16("s3cret")), "not text in UTF-8"],
    ["half a character of UTF-16", () => write(utf16("\uFEFFs3cret").subarray(0, 7)), "not text"],
    ["Latin-1", () => write(Buffer.from("s3crét", "latin1")), "not text in UTF-8"],
    ["random bytes", () => write(Buffer.from([0x80, 0xff, 0x00, 0xc3])), "not text in UTF-8"],
    ["nothing", () => write(""), "empty file"],
    ["line breaks alone", () => write("\r\n\n"), "empty file"],
    ["a byte order mark alone", () => write("\uFEFF"), "empty file"],
    ["a folder", () => folder, "not a regular file"],
    ["a device without an end", () => "/dev/zero", "not a regular file"],
    ["more than 1 MiB", () => write("s".repeat(1_048_577)), "more than 1 MiB"],
  ];

  test.each(refused)("%s is refused by name, without a word of it", (_what, create, problem) => {
    const { environment, problems } = read(create());
    expect(problems).toMatchObject([
      { variable: "SESSION_SECRET_FILE", problem: expect.stringContaining(problem) },
    ]);
    expect(JSON.stringify(problems)).not.toContain("s3cr");
    expect(environment["SESSION_SECRET"]).toBeUndefined();
  });

  test("1 MiB is read", () => {
    const secret = "s".repeat(1_048_576);
    expect(read(write(secret)).environment["SESSION_SECRET"]).toBe(secret);
  });

  test("a pipe without a writer does not block the start", () => {
    const pipe = join(folder, "pipe");
    execFileSync("mkfifo", [pipe]);
    expect(read(pipe).problems).toMatchObject([
      { problem: expect.stringContaining("not a regular file") },
    ]);
  });

  test("its path may stand in quotes and end in a line break", () => {
    const { environment } = read(`"${write("s3cret")}"\n`);
    expect(environment["SESSION_SECRET"]).toBe("s3cret");
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
