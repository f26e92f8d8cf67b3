import { describe, expect, test } from "vitest";

import { type Config, type Environment, parseConfig } from "./config.ts";

const SECRET = "0123456789abcdef0123456789abcdef";
const GOOD = {
  SESSION_SECRET: SECRET,
  SESSION_ISSUER: "https://issuer.example/",
  SESSION_AUDIENCE: "uponai-bff",
  UPONAI_API_TOKEN: "token-1",
  UPONAI_WORKSPACE_ID: "42",
};
/** For a table of workspaces instead of the one of GOOD. */
const NO_WORKSPACE = { UPONAI_WORKSPACE_ID: "" };

function problemsOf(environment: Environment) {
  const result = parseConfig(environment);
  return result.kind === "problems" ? result.problems : [];
}

function accepted(environment: Environment) {
  const result = parseConfig(environment);
  if (result.kind === "problems") throw new Error(JSON.stringify(result.problems));
  return result;
}

const configOf = (environment: Environment): Config => accepted(environment).config;

const quota = (count: number, windowSeconds: number, burst = count) => ({
  quota: count,
  windowSeconds,
  burst,
});

describe("the whole", () => {
  test("the least that is needed is enough, and the result is frozen", () => {
    const { config } = accepted(GOOD);
    expect(Object.isFrozen(config)).toBe(true);
    expect(config.workspaces.kind).toBe("single");
  });

  test("all problems are told at once, and no config comes of it", () => {
    const named = problemsOf({ PORT: "http", LIMIT_IP: "0/1m", LOG_LEVEL: "loud" }).map(
      ({ variable }) => variable,
    );
    expect(named).toEqual(
      expect.arrayContaining([
        "PORT",
        "LIMIT_IP",
        "LOG_LEVEL",
        "SESSION_ISSUER",
        "SESSION_AUDIENCE",
        "SESSION_SECRET",
        "WORKSPACES",
      ]),
    );
  });

  test.each(["SESSION_ISSUER", "SESSION_AUDIENCE"])(
    "%s is required, and empty is not set",
    (name) => {
      for (const environment of [
        { ...GOOD, [name]: undefined },
        { ...GOOD, [name]: "" },
      ]) {
        expect(problemsOf(environment).map(({ variable }) => variable)).toEqual([name]);
      }
    },
  );
});

describe("exactly one session key", () => {
  const keys = {
    SESSION_SECRET: SECRET,
    SESSION_PUBLIC_KEY: '{"kty":"RSA"}',
    SESSION_JWKS_URL: "https://issuer.example/jwks",
  };
  const { SESSION_SECRET: _secret, ...withoutKey } = GOOD;

  test.each(Object.entries(keys))("%s alone is enough", (name, text) => {
    expect(problemsOf({ ...withoutKey, [name]: text })).toEqual([]);
  });

  test.each([
    [["SESSION_SECRET", "SESSION_PUBLIC_KEY"]],
    [["SESSION_SECRET", "SESSION_JWKS_URL"]],
    [["SESSION_PUBLIC_KEY", "SESSION_JWKS_URL"]],
    [["SESSION_SECRET", "SESSION_PUBLIC_KEY", "SESSION_JWKS_URL"]],
    [[]],
  ])("%j is refused, and all three are named", (names) => {
    const chosen = Object.entries(keys).filter(([name]) => names.includes(name));
    const problems = problemsOf({ ...withoutKey, ...Object.fromEntries(chosen) });
    expect(problems).toHaveLength(1);
    const line = `${problems[0]?.variable} ${problems[0]?.problem}`;
    for (const name of Object.keys(keys)) expect(line).toContain(name);
  });
});

describe("workspaces", () => {
  const TABLE = { ...GOOD, ...NO_WORKSPACE };

  test("one id and a table exclude each other, and one of them is required", () => {
    for (const environment of [{ ...GOOD, WORKSPACES: '{"acme":7}' }, TABLE]) {
      const problems = problemsOf(environment);
      expect(problems).toHaveLength(1);
      const line = `${problems[0]?.variable} ${problems[0]?.problem}`;
      expect(line).toContain("WORKSPACES");
      expect(line).toContain("UPONAI_WORKSPACE_ID");
    }
  });

  test("an entry's own token and limits replace the shared ones, the rest stays", () => {
    const table = { a: 1, b: { id: 2, apiToken: "own-1,own-2", limits: { session: "5/1m" } } };
    const { workspaces } = configOf({
      ...TABLE,
      WORKSPACES: JSON.stringify(table),
      LIMIT_SESSION: "9/1m",
      LIMIT_WORKSPACE: "99/1m",
    });
    if (workspaces.kind !== "table") throw new Error("expected a table");
    expect(workspaces.byClaim.get("a")).toEqual({
      id: 1,
      apiTokens: ["token-1"],
      limits: {
        session: quota(9, 60),
        sessionDaily: "off",
        workspace: quota(99, 60),
        ip: quota(120, 60),
        replays: quota(60, 60),
      },
    });
    expect(workspaces.byClaim.get("b")).toEqual({
      id: 2,
      apiTokens: ["own-1", "own-2"],
      limits: {
        session: quota(5, 60),
        sessionDaily: "off",
        workspace: quota(99, 60),
        ip: quota(120, 60),
        replays: quota(60, 60),
      },
    });
  });

  test("no shared token is needed when every workspace has its own, and is when one has not", () => {
    const environment = { ...TABLE, UPONAI_API_TOKEN: "" };
    const own = { id: 2, apiToken: "own" };
    expect(problemsOf({ ...environment, WORKSPACES: JSON.stringify({ b: own }) })).toEqual([]);
    const mixed = problemsOf({ ...environment, WORKSPACES: JSON.stringify({ a: 1, b: own }) });
    expect(mixed.map(({ variable }) => variable)).toEqual(["UPONAI_API_TOKEN"]);
    const single = problemsOf({ ...GOOD, UPONAI_API_TOKEN: "" });
    expect(single.map(({ variable }) => variable)).toEqual(["UPONAI_API_TOKEN"]);
  });

  test("one entry of a table is still a table: other claims have no workspace", () => {
    const { workspaces } = configOf({ ...TABLE, WORKSPACES: '{"acme":7}' });
    if (workspaces.kind !== "table") throw new Error("expected a table");
    expect([...workspaces.byClaim.keys()]).toEqual(["acme"]);
  });
});

describe("state", () => {
  test("without REDIS_URL it is this process's, with a warning", () => {
    const { config, warnings } = accepted(GOOD);
    expect(config.state).toEqual({ kind: "memory" });
    expect(warnings).toEqual([expect.stringContaining("REDIS_URL")]);
  });

  test("with REDIS_URL it is Redis, without a warning", () => {
    const { config, warnings } = accepted({ ...GOOD, REDIS_URL: "redis://127.0.0.1" });
    expect(config.state).toEqual({
      kind: "redis",
      address: expect.objectContaining({ kind: "single" }),
      prefix: "bff:",
      timeoutMs: 500,
    });
    expect(warnings).toEqual([]);
  });

  test("STATE=redis needs REDIS_URL, and STATE=memory wins over it", () => {
    const missing = problemsOf({ ...GOOD, STATE: "redis" });
    expect(missing.map(({ variable }) => variable)).toEqual(["REDIS_URL"]);
    const both = configOf({ ...GOOD, STATE: "memory", REDIS_URL: "redis://127.0.0.1" });
    expect(both.state).toEqual({ kind: "memory" });
  });
});

const perAddressMax = (more: Environment) =>
  configOf({ ...GOOD, ...more }).connections.perAddressMax;

describe("connections from one address", () => {
  test("are limited where sockets come from clients, and not where they come from a proxy", () => {
    expect(perAddressMax({})).toBe(2_500);
    expect(perAddressMax({ TRUST_PROXY: "0" })).toBe(2_500);
    expect(perAddressMax({ TRUST_PROXY: "1" })).toBeUndefined();
  });

  test("are limited behind a proxy too where that is asked for", () => {
    expect(perAddressMax({ TRUST_PROXY: "1", MAX_CONNECTIONS_PER_ADDRESS: "9" })).toBe(9);
  });
});

describe("production", () => {
  const PRODUCTION = { ...GOOD, NODE_ENV: "production" };

  test("state in the process is refused unless it is asked for", () => {
    const problems = problemsOf(PRODUCTION);
    expect(problems.map(({ variable }) => variable)).toEqual(["REDIS_URL"]);
    expect(problems[0]?.problem).toContain("STATE=memory");
    const asked = accepted({ ...PRODUCTION, STATE: "memory" });
    expect(asked.config.state.kind).toBe("memory");
    expect(asked.warnings).toHaveLength(1);
    expect(problemsOf({ ...PRODUCTION, REDIS_URL: "redis://127.0.0.1" })).toEqual([]);
  });

  test("log lines for people are refused", () => {
    const withRedis = { ...PRODUCTION, REDIS_URL: "redis://127.0.0.1" };
    const problems = problemsOf({ ...withRedis, LOG_PRETTY: "true" });
    expect(problems.map(({ variable }) => variable)).toEqual(["LOG_PRETTY"]);
    expect(problemsOf({ ...withRedis, LOG_PRETTY: "false" })).toEqual([]);
  });

  test.each(["LOG_PRETTY", "COOKIE_INSECURE"])("the example for %s fits its problem", (name) => {
    const problems = problemsOf({ ...PRODUCTION, REDIS_URL: "redis://127.0.0.1", [name]: "true" });
    expect(problems).toEqual([
      { variable: name, problem: "must be off in production", example: "false" },
    ]);
  });

  test.each(["development", "test", "staging", ""])("NODE_ENV=%s is not production", (name) => {
    expect(problemsOf({ ...GOOD, NODE_ENV: name, LOG_PRETTY: "true" })).toEqual([]);
  });
});

const exampleOf = (environment: Environment) => problemsOf(environment)[0]?.example;

describe("examples fit their problem", () => {
  test("several session keys, and two kinds of workspaces", () => {
    const jwks = { SESSION_JWKS_URL: "https://issuer.example/jwks" };
    expect(exampleOf({ ...GOOD, ...jwks })).toBe("leave the others unset");
    expect(exampleOf({ ...GOOD, WORKSPACES: '{"acme":7}' })).toBe(
      "leave UPONAI_WORKSPACE_ID unset",
    );
  });

  test("the state of another platform", () => {
    expect(exampleOf({ ...GOOD, STATE: "durable-object" })).toBe("memory");
    const result = parseConfig({ ...GOOD, STATE: "memory" }, "durable-object");
    expect(result).toMatchObject({ problems: [{ example: "durable-object" }] });
  });
});

// For a service named `admin` Kubernetes sets ADMIN_PORT=tcp://… in every pod of the namespace.
test.each(["PORT", "ADMIN_PORT"])("an address of Kubernetes in %s is told as such", (name) => {
  const problems = problemsOf({ ...GOOD, [name]: "tcp://10.96.0.7:9464" });
  expect(problems).toMatchObject([
    { variable: name, problem: expect.stringContaining("enableServiceLinks: false") },
  ]);
  expect(JSON.stringify(problems)).not.toContain("10.96.0.7");
  expect(JSON.stringify(problemsOf({ ...GOOD, [name]: "http" }))).not.toContain("Kubernetes");
});

const warningsOf = (more: Environment) =>
  accepted({ ...GOOD, REDIS_URL: "redis://127.0.0.1", ...more }).warnings;

describe("misspelt variables", () => {
  test("are named in a warning with what was meant, and never with their value", () => {
    const value = "a-secret-that-must-not-be-logged";
    const warnings = warningsOf({ SESION_SECRET: value, LIMIT_SESION: "5/1m" });
    expect(warnings).toHaveLength(2);
    expect(warnings[0]).toMatch(/SESION_SECRET .*SESSION_SECRET/);
    expect(warnings[1]).toMatch(/LIMIT_SESION .*LIMIT_SESSION/);
    expect(warnings.join("\n")).not.toContain(value);
  });

  test("are not suspected in the variables of others, nor in NAME_FILE", () => {
    const others = { PATH: "/bin", HOME: "/root", HOSTNAME: "a", LANG: "C", NODE_OPTIONS: "" };
    expect(warningsOf({ ...others, SESSION_SECRET_FILE: "/run/secrets/x" })).toEqual([]);
  });
});

test("a variable that both a client and the session could set is named in a warning", () => {
  const both = { CHAT_VARIABLES: "language,plan", SESSION_VARIABLES: "plan=tier,vip=vip" };
  expect(warningsOf(both)).toEqual([
    expect.stringMatching(/^CHAT_VARIABLES lists plan, which SESSION_VARIABLES sets /),
  ]);
  expect(warningsOf({ CHAT_VARIABLES: "language", SESSION_VARIABLES: "plan=tier" })).toEqual([]);
});

const warningsOfTable = (table: string) =>
  warningsOf({
    UPONAI_WORKSPACE_ID: "",
    SESSION_WORKSPACE_CLAIM: "workspace",
    WORKSPACES: table,
  });

test("two workspace entries with one id and different limits are named in a warning", () => {
  const limited = '{"id":2,"limits":{"session":"5/1m"}}';
  expect(warningsOfTable(`{"canary":1,"b":2,"7":${limited},"d":2}`)).toEqual([
    expect.stringMatching(/^WORKSPACES has the same id in entries 2 and 3, with different limits/),
  ]);
  expect(warningsOfTable(`{"a":1,"b":${limited},"c":${limited}}`)).toEqual([]);
});

/** The state on a platform that has Durable Objects, or what is wrong with it. */
function stateOf(more: Environment) {
  const result = parseConfig({ ...GOOD, NODE_ENV: "production", ...more }, "durable-object");
  return result.kind === "config" ? result.config.state : result.problems;
}

describe("a platform whose own state is in Durable Objects", () => {
  test("keeps it there by default, in production too, or in Redis", () => {
    expect(stateOf({})).toEqual({ kind: "durable-object", timeoutMs: 500 });
    expect(stateOf({ STATE: "durable-object", REDIS_TIMEOUT: "2s" })).toEqual({
      kind: "durable-object",
      timeoutMs: 2_000,
    });
    expect(stateOf({ REDIS_URL: "redis://127.0.0.1" })).toMatchObject({ kind: "redis" });
  });

  test("has no memory that its instances share, and others have no Durable Objects", () => {
    expect(stateOf({ STATE: "memory" })).toMatchObject([{ variable: "STATE" }]);
    const elsewhere = problemsOf({ ...GOOD, STATE: "durable-object" });
    expect(elsewhere).toMatchObject([{ variable: "STATE" }]);
  });
});
