// No line that is shown may hold a secret: startup output ends in logs that many can read.
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";

import { type Environment, parseConfig } from "./config.ts";
import { type VariableName, variableNames, variables } from "./variables.ts";

const GOOD = {
  SESSION_SECRET: "0123456789abcdef0123456789abcdef",
  SESSION_ISSUER: "https://issuer.example/",
  SESSION_AUDIENCE: "uponai-bff",
  UPONAI_API_TOKEN: "token-1",
  UPONAI_WORKSPACE_ID: "42",
};

/** Everything that is said of a configuration. */
function linesOf(environment: Environment): string {
  const result = parseConfig(environment);
  const lines =
    result.kind === "config"
      ? result.warnings
      : result.problems.map(({ variable, problem, example }) => [variable, problem, example]);
  return JSON.stringify(lines);
}

const secretNames = variableNames.filter((name) => "secret" in variables[name]);

// Long enough never to be part of a message by chance.
const secrets = fc.stringMatching(/^[A-Za-z0-9._~-]{16,31}$/).map((text) => `Zq7${text}`);

test("what holds credentials is marked as a secret", () => {
  expect(secretNames).toEqual([
    "UPONAI_API_TOKEN",
    "WORKSPACES",
    "SESSION_SECRET",
    "SESSION_PUBLIC_KEY",
    "COOKIE_KEYS",
    "REDIS_URL",
  ]);
});

/** The ways to get a secret wrong that an operator is likeliest to find. */
const mistakes: readonly (readonly [VariableName, string, (secret: string) => string])[] = [
  ["SESSION_SECRET", "a short one", (secret) => secret.slice(0, 20)],
  ["UPONAI_API_TOKEN", "one with its scheme", (secret) => `Bearer ${secret}`],
  ["UPONAI_API_TOKEN", "one of several is broken", (secret) => `${secret},two words,${secret}`],
  ["REDIS_URL", "another scheme", (secret) => `http://:${secret}@redis.example`],
  ["REDIS_URL", "no scheme", (secret) => `:${secret}@redis.example:6379`],
  ["REDIS_URL", "no host", (secret) => `redis://:${secret}@`],
  ["REDIS_URL", "a comma in the password", (secret) => `redis://:${secret},x@redis.example`],
  [
    "REDIS_URL",
    "another password",
    (secret) => `redis://:${secret}@a.example,:${secret}x@b.example`,
  ],
  ["REDIS_URL", "no primary", (secret) => `redis+sentinel://:${secret}@a.example,b.example`],
  [
    "REDIS_URL",
    "a misspelt member",
    (secret) => `redis+sentinel://a/main?sentinelPasword=${secret}`,
  ],
  [
    "REDIS_URL",
    "half an escape",
    (secret) => `redis+sentinel://a/main?sentinelPassword=${secret}%`,
  ],
  ["WORKSPACES", "a token instead of the table", (secret) => secret],
  ["WORKSPACES", "unfinished JSON", (secret) => `{"acme":{"id":1,"apiToken":"${secret}"`],
  ["WORKSPACES", "JSON with a stray word", (secret) => `{"acme":{"id":1,"apiToken":${secret}}}`],
  ["WORKSPACES", "a token for an id", (secret) => `{"acme":"${secret}"}`],
  ["WORKSPACES", "a token as the id", (secret) => `{"acme":{"id":"${secret}"}}`],
  ["WORKSPACES", "a broken token", (secret) => `{"acme":{"id":1,"apiToken":"${secret} x"}}`],
  ["WORKSPACES", "a list of tokens", (secret) => `{"acme":{"id":1,"apiToken":["${secret}"]}}`],
  ["WORKSPACES", "a misspelt member", (secret) => `{"acme":{"id":1,"apitoken":"${secret}"}}`],
  ["WORKSPACES", "a token as a limit", (s) => `{"acme":{"id":1,"limits":{"session":"${s}"}}}`],
  ["WORKSPACES", "no id", (secret) => `{"acme":{"apiToken":"${secret}"}}`],
];

describe("a wrong secret is refused without a word of it", () => {
  test.each(mistakes)("%s: %s", (name, _mistake, spoil) => {
    const beside = name === "WORKSPACES" ? { UPONAI_WORKSPACE_ID: "" } : {};
    fc.assert(
      fc.property(secrets, (secret) => {
        const environment = { ...GOOD, ...beside, [name]: spoil(secret) };
        expect(parseConfig(environment).kind).toBe("problems");
        expect(linesOf(environment)).not.toContain(secret.slice(0, 16));
      }),
    );
  });
});

test("whatever the secrets hold, no line repeats them, be they right or wrong", () => {
  const around = fc.string({ unit: "binary", maxLength: 40 });
  const values = fc.tuple(around, secrets, around);
  const environments = fc.record(
    {
      ...Object.fromEntries(secretNames.map((name) => [name, values])),
      SESION_SECRET: values,
      REDIS_ULR: values,
    },
    { requiredKeys: [] },
  );
  fc.assert(
    fc.property(environments, fc.boolean(), (given, production) => {
      const environment: Record<string, string> = { ...GOOD };
      if (production) environment["NODE_ENV"] = "production";
      for (const [name, parts] of Object.entries(given)) environment[name] = parts.join("");
      const lines = linesOf(environment);
      for (const [, secret] of Object.values(given)) expect(lines).not.toContain(secret);
    }),
  );
});
