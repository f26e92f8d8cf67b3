import * as fc from "fast-check";
import { describe, expect, test } from "vitest";

import { cleanEnvironment, cleanText } from "./clean-environment.ts";
import { type Environment, parseConfig } from "./config.ts";
import { type VariableName, variableNames, variables } from "./variables.ts";

const SECRET = "0123456789abcdef0123456789abcdef";
const GOOD = {
  SESSION_SECRET: SECRET,
  SESSION_ISSUER: "https://issuer.example/",
  SESSION_AUDIENCE: "uponai-bff",
  UPONAI_API_TOKEN: "token-1",
  UPONAI_WORKSPACE_ID: "42",
  REDIS_URL: "redis://127.0.0.1",
};

function accepted(environment: Environment) {
  const result = parseConfig(environment);
  if (result.kind === "problems") throw new Error(JSON.stringify(result.problems));
  return result;
}

function problemsOf(environment: Environment) {
  const result = parseConfig(environment);
  return result.kind === "problems" ? result.problems : [];
}

const config = (more: Environment) => accepted({ ...GOOD, ...more }).config;
const warnings = (more: Environment) => accepted({ ...GOOD, ...more }).warnings;

/** Values that are right as they are, for every variable. */
const RIGHT: { readonly [Name in VariableName]?: string } = {
  UPONAI_API_TOKEN: "token-1",
  SESSION_PUBLIC_KEY: '{"kty":"RSA"}',
  COOKIE_KEYS: Buffer.alloc(32, 7).toString("base64url"),
};
const rightValue = (name: VariableName) => RIGHT[name] ?? variables[name].example;

/** What is set instead, so that the variable is the only one of its kind. */
const INSTEAD: { readonly [Name in VariableName]?: Environment } = {
  WORKSPACES: { UPONAI_WORKSPACE_ID: "" },
  SESSION_PUBLIC_KEY: { SESSION_SECRET: "" },
  SESSION_JWKS_URL: { SESSION_SECRET: "" },
};

const around = [
  ["a line break", (text: string) => `${text}\n`],
  ["a Windows line break", (text: string) => `${text}\r\n`],
  ["a byte order mark", (text: string) => `\uFEFF${text}`],
  ["spaces and tabs", (text: string) => ` \t${text}\t `],
  ["no-break spaces", (text: string) => `\u00A0${text}\u00A0`],
  ["a zero-width space", (text: string) => `${text}\u200B`],
  ["double quotes", (text: string) => `"${text}"`],
  ["single quotes", (text: string) => `'${text}'`],
  ["quotes and a line break", (text: string) => `"${text}"\r\n`],
] as const;

describe.each(around)("%s around a value", (_what, spoil) => {
  const names = variableNames.filter((name) => name !== "SESSION_SECRET");

  test.each(names)("is no part of %s", (name) => {
    const beside = { ...GOOD, ...INSTEAD[name] };
    const right = accepted({ ...beside, [name]: rightValue(name) }).config;
    expect(accepted({ ...beside, [name]: spoil(rightValue(name)) }).config).toEqual(right);
  });

  test("does not switch the checks for production off", () => {
    const environment = { ...GOOD, NODE_ENV: spoil("production"), COOKIE_INSECURE: "true" };
    expect(problemsOf(environment).map(({ variable }) => variable)).toEqual(["COOKIE_INSECURE"]);
  });

  test("that holds nothing is an unset variable", () => {
    expect(config({ PORT: spoil("") }).listen.port).toBe(8_787);
    expect(problemsOf({ ...GOOD, SESSION_SECRET: spoil("") })[0]).toMatchObject({
      variable: "SESSION_SECRET",
    });
  });
});

const keyOf = (text: string) => config({ SESSION_SECRET: text }).session.key;

describe("SESSION_SECRET", () => {
  test.each([`${SECRET}\n`, `${SECRET}\r\n`, `${SECRET}\n\n`, `\uFEFF${SECRET}`])(
    "%j is used without line breaks and marks, with a warning: the issuer may have them",
    (text) => {
      expect(keyOf(text)).toEqual({ kind: "secret", secret: SECRET });
      expect(warnings({ SESSION_SECRET: text })).toEqual([
        expect.stringMatching(/^SESSION_SECRET .*removed.*issuer/),
      ]);
    },
  );

  test("of 31 bytes and a line break is too short", () => {
    expect(problemsOf({ ...GOOD, SESSION_SECRET: `${SECRET.slice(1)}\n` })).toMatchObject([
      { variable: "SESSION_SECRET", problem: "must be at least 32 bytes" },
    ]);
  });

  test.each([` ${SECRET}`, `${SECRET} `, `${SECRET}\u00A0`, `${SECRET}\t`])(
    "%j keeps its white space, which can be meant, with a warning",
    (text) => {
      expect(keyOf(text)).toEqual({ kind: "secret", secret: text });
      expect(warnings({ SESSION_SECRET: text })).toEqual([
        expect.stringMatching(/^SESSION_SECRET .*white space/),
      ]);
    },
  );

  test.each([`${SECRET}\u0007x`, `${SECRET}\nx`, `${SECRET}\u200Bx`, `${SECRET}\u00A0x`])(
    "%j is warned about: it holds what cannot be seen",
    (text) => {
      expect(keyOf(text)).toEqual({ kind: "secret", secret: text });
      expect(warnings({ SESSION_SECRET: text })).toEqual([
        expect.stringMatching(/^SESSION_SECRET .*invisible/),
      ]);
    },
  );

  test.each([`"${SECRET}"`, `'${SECRET}'`, `"${SECRET}"\n`])(
    "%j is refused: only the operator knows whether the issuer has the quotes, too",
    (text) => {
      const problems = problemsOf({ ...GOOD, SESSION_SECRET: text });
      expect(problems).toMatchObject([
        { variable: "SESSION_SECRET", problem: expect.stringContaining("quotes") },
      ]);
      expect(JSON.stringify(problems)).not.toContain(SECRET);
    },
  );

  test("with one quotation mark keeps it, with a warning", () => {
    expect(keyOf(`"${SECRET}`)).toEqual({ kind: "secret", secret: `"${SECRET}` });
    expect(warnings({ SESSION_SECRET: `"${SECRET}` })).toHaveLength(1);
  });

  test("that is clean is used as it is, without a warning", () => {
    expect(warnings({ SESSION_SECRET: `${SECRET} with "quotes" inside` })).toEqual([]);
  });
});

describe("what is removed", () => {
  test("is told where the issuer has the same value", () => {
    for (const name of ["SESSION_ISSUER", "SESSION_AUDIENCE", "SESSION_WORKSPACE_CLAIM"]) {
      expect(warnings({ [name]: "value\n" })).toEqual([expect.stringContaining(name)]);
    }
  });

  test("is silent where it cannot be meant", () => {
    expect(warnings({ PORT: "80\n", UPONAI_API_TOKEN: "token\r\n", NODE_ENV: "test " })).toEqual(
      [],
    );
  });

  test("as quotes is told in one line for all variables", () => {
    const quoted = { PORT: '"80"', SESSION_ISSUER: "'urn:issuer'", NODE_ENV: '"test"' };
    const [line, ...others] = warnings(quoted);
    expect(others).toEqual([]);
    expect(line).toContain("PORT, SESSION_ISSUER, NODE_ENV");
    expect(line).not.toContain("urn:issuer");
  });
});

describe("what is left and looks wrong", () => {
  test.each([
    ["SESSION_ISSUER", '"urn:issuer'],
    ["SESSION_AUDIENCE", "“chat”"],
    ["SESSION_AUDIENCE", "ch\u00A0at"],
    ["SESSION_ISSUER", "urn:\u200Bissuer"],
    ["SESSION_WORKSPACE_CLAIM", "work\u00ADspace"],
  ])("%s=%j is kept and warned about", (name, text) => {
    const told = warnings({ [name]: text });
    expect(told).toEqual([expect.stringContaining(name)]);
    expect(told.join()).not.toContain(text);
  });

  test("JSON, PEM and lists may have several lines", () => {
    const table = '{\r\n\t"acme": 42\n}';
    expect(warnings({ WORKSPACES: table, UPONAI_WORKSPACE_ID: "" })).toEqual([]);
    expect(warnings({ UPONAI_API_TOKEN: "one,\ntwo" })).toEqual([]);
    expect(warnings({ ALLOWED_ORIGINS: "https://a.example,\n  https://b.example" })).toEqual([]);
  });

  test.each(["prod", "Prod", '"production', "production;", "production,"])(
    "NODE_ENV=%j is not production, and a warning says so",
    (text) => {
      expect(warnings({ NODE_ENV: text }).join()).toContain("the checks for production are off");
    },
  );

  test.each(["production", "development", "staging", "preproduction", "test"])(
    "NODE_ENV=%s is clear",
    (text) => {
      expect(warnings({ NODE_ENV: text })).toEqual([]);
    },
  );
});

test.each([...variableNames, "NODE_ENV"])("bytes that were no UTF-8 are refused in %s", (name) => {
  // What Node makes of them in the environment.
  const problems = problemsOf({ ...GOOD, [name]: "ab\uFFFDcd" });
  const own = problems.filter(({ variable }) => variable === name);
  expect(own).toMatchObject([{ problem: expect.stringContaining("UTF-8") }]);
});

test("a huge value is cleaned in linear time", () => {
  const text = `${" ".repeat(1_000_000)}x${"\n".repeat(1_000_000)}${'"'.repeat(1_000_000)}`;
  const startedMs = performance.now();
  cleanEnvironment({ SESSION_ISSUER: text, SESSION_SECRET: text, WORKSPACES: text });
  expect(performance.now() - startedMs).toBeLessThan(5_000);
});

test("what is cleaned is clean, and other variables are left alone", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => {
      const { environment } = cleanEnvironment({ SESSION_ISSUER: text, OTHER: text });
      expect(environment["OTHER"]).toBe(text);
      const issuer = environment["SESSION_ISSUER"] ?? "";
      expect(issuer.trim()).toBe(issuer);
      expect(text).toContain(issuer);
      expect(cleanText(text).trim()).toBe(cleanText(text));
    }),
  );
});
