// Each variable by itself: its default, right and wrong values. config.test.ts tests combinations.
import { describe, expect, test } from "vitest";

import { type Config, type Environment, parseConfig } from "./config.ts";
import {
  describeDefault,
  describeExpectation,
  parseVariable,
  type VariableName,
  variableNames,
  variables,
} from "./variables.ts";

const SECRET = "0123456789abcdef0123456789abcdef";
const GOOD = {
  SESSION_SECRET: SECRET,
  SESSION_ISSUER: "https://issuer.example/",
  SESSION_AUDIENCE: "uponai-bff",
  UPONAI_API_TOKEN: "token-1",
  UPONAI_WORKSPACE_ID: "42",
};
/** A table of workspaces, or another key, instead of those of GOOD. */
const NO_WORKSPACE = { UPONAI_WORKSPACE_ID: "" };
const NO_KEY = { SESSION_SECRET: "" };

function problemsOf(environment: Environment) {
  const result = parseConfig(environment);
  return result.kind === "problems" ? result.problems : [];
}

function configOf(environment: Environment): Config {
  const result = parseConfig(environment);
  if (result.kind === "problems") throw new Error(JSON.stringify(result.problems));
  return result.config;
}

/** The one workspace, whichever way it was configured. */
function workspaceOf({ workspaces }: Config) {
  return workspaces.kind === "single" ? workspaces.workspace : workspaces.byClaim.get("acme");
}

const quota = (count: number, windowSeconds: number, burst = count) => ({
  quota: count,
  windowSeconds,
  burst,
});

interface VariableCase {
  readonly read: (config: Config) => unknown;
  /** The value while the variable is unset; left out where that is an error or needs `beside`. */
  readonly standard?: unknown;
  readonly right: readonly (readonly [text: string, value: unknown])[];
  readonly wrong: readonly string[];
  /** What else must be set, or emptied, for a right value to be the only one. */
  readonly beside?: Environment;
}

const WRONG_DURATIONS = ["0s", "60", "1.5s", "-1s", "60 s", "1w", "soon"];
const WRONG_SIZES = ["0", "-1", "1KB", "32 KiB", "1.5MiB", "big"];
const WRONG_QUOTAS = ["0/1m", "20/0m", "20", "20/1m;burst=0", "-1/1m", "none", "20/1m;brst=5"];
const WRONG_FLAGS = ["1", "0", "yes", "no", "TRUE", "on", "tr ue"];
const WRONG_URLS = ["issuer.example", "ftp://a.example", "http://a.example", "https://", "/keys"];

const WRONG_NAMES = [
  ",",
  "a,",
  "a,,b",
  "a b",
  "a=b",
  "a/b",
  "*",
  "é",
  "-a",
  "a".repeat(65),
  "__proto__",
  "constructor",
  "uponai_bff_owner",
  Array.from({ length: 33 }, (_, index) => `n${index}`).join(),
];

const COOKIE_KEY = Buffer.alloc(32, 7).toString("base64url");

// By the type, a variable without its cases here does not compile.
// The type requires an entry for every variable.
const cases: Record<VariableName, VariableCase> = {
  ADMIN_PORT: {
    read: (config) => config.admin,
    standard: undefined,
    right: [
      ["9464", { host: "127.0.0.1", port: 9_464 }],
      ["0", { host: "127.0.0.1", port: 0 }],
    ],
    wrong: ["65536", "-1", "9464.5", "off"],
  },
  OTEL_SERVICE_NAME: {
    read: (config) => config.traces?.serviceName,
    beside: { OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:4318" },
    right: [["chat backend", "chat backend"]],
    wrong: ["x".repeat(201), "two\nlines"],
  },
  OTEL_SDK_DISABLED: {
    read: (config) => config.traces === undefined,
    beside: { OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:4318" },
    right: [
      ["true", true],
      ["TRUE", true],
      ["false", false],
      ["False", false],
    ],
    wrong: ["1", "0", "yes", "off"],
  },
  OTEL_EXPORTER_OTLP_ENDPOINT: {
    read: (config) => config.traces?.endpoint,
    standard: undefined,
    right: [
      ["http://127.0.0.1:4318", "http://127.0.0.1:4318/"],
      ["https://collector.example/otlp", "https://collector.example/otlp"],
    ],
    wrong: ["127.0.0.1:4318", "grpc://a.example", "https://u:p@a.example", "https://a.example?x=1"],
  },
  ADMIN_HOST: {
    read: (config) => config.admin?.host,
    beside: { ADMIN_PORT: "9464" },
    right: [
      ["0.0.0.0", "0.0.0.0"],
      ["[::1]", "::1"],
    ],
    wrong: ["127.0.0.1:9464", "http://127.0.0.1"],
  },
  SESSION_CHATS_CLAIM: {
    read: (config) => config.session.chatsClaim,
    standard: "chats",
    right: [["https://a.example/chats", "https://a.example/chats"]],
    wrong: ["a\nb", "x".repeat(201)],
  },
  UPONAI_AGENT_ID: {
    read: ({ workspaces }) =>
      workspaces.kind === "single" ? workspaces.workspace.agentId : workspaces,
    right: [["agent_1", "agent_1"]],
    wrong: ["an agent", "a".repeat(201), "an\u0001agent", "an\u200Bagent"],
  },
  CHAT_VARIABLES: {
    read: (config) => [...config.chats.variables],
    standard: [],
    right: [
      ["language", ["language"]],
      ["language, page_url,a.b-c,7,_x,language", ["language", "page_url", "a.b-c", "7", "_x"]],
      ["a".repeat(64), ["a".repeat(64)]],
    ],
    wrong: WRONG_NAMES,
  },
  CHAT_METADATA: {
    read: (config) => [...config.chats.metadata],
    standard: [],
    right: [["page,campaign", ["page", "campaign"]]],
    wrong: WRONG_NAMES,
  },
  SESSION_VARIABLES: {
    read: (config) => [...config.session.variables],
    standard: [],
    right: [
      ["plan=plan", [["plan", "plan"]]],
      [
        "plan = app.plan , id=https://a.example/id?x=1",
        [
          ["plan", "app.plan"],
          ["id", "https://a.example/id?x=1"],
        ],
      ],
    ],
    wrong: [
      "plan",
      "plan=",
      "=plan",
      "a=b,",
      "a=b,a=c",
      "a b=c",
      "__proto__=a",
      "uponai_bff_owner=sub",
      Array.from({ length: 33 }, (_, index) => `v${index}=c`).join(),
    ],
  },
  CHAT_ACCESS: {
    read: (config) => config.chats.access,
    standard: "first-use",
    right: [
      ["claim", "claim"],
      ["workspace", "workspace"],
    ],
    wrong: ["First-Use", "first_use", "any"],
  },
  CHAT_OWNER_TTL: {
    read: (config) => config.chats.ownerTtlMs,
    standard: 2_592_000_000,
    right: [
      ["1d", 86_400_000],
      ["3650d", 315_360_000_000],
    ],
    wrong: [...WRONG_DURATIONS, "23h", "3651d"],
  },
  RECOVERY_WINDOW: {
    read: (config) => config.upstream.recoveryWindowMs,
    standard: 20_000,
    right: [["5s", 5_000]],
    wrong: WRONG_DURATIONS,
  },
  COOKIE_KEYS: {
    read: (config) => config.cookies?.keys,
    standard: undefined,
    right: [
      [COOKIE_KEY, [new Uint8Array(32).fill(7)]],
      [`${COOKIE_KEY}, ${COOKIE_KEY}=`, [new Uint8Array(32).fill(7), new Uint8Array(32).fill(7)]],
    ],
    wrong: [
      "short",
      `${COOKIE_KEY}AA`,
      `${COOKIE_KEY},`,
      `${COOKIE_KEY.slice(1)}!`,
      `,${COOKIE_KEY}`,
    ],
  },
  COOKIE_MAX_AGE: {
    read: (config) => config.cookies?.maxAgeMs,
    beside: { COOKIE_KEYS: COOKIE_KEY },
    right: [
      ["30m", 1_800_000],
      ["8h", 28_800_000],
    ],
    wrong: [...WRONG_DURATIONS, "999ms", "401d", "999999999d"],
  },
  COOKIE_INSECURE: {
    read: (config) => config.insecure,
    standard: false,
    right: [
      ["true", true],
      ["false", false],
    ],
    wrong: WRONG_FLAGS,
  },
  ALLOWED_ORIGINS: {
    read: (config) => [...config.allowedOrigins],
    standard: [],
    right: [
      ["https://www.example.com", ["https://www.example.com"]],
      [
        "https://a.example:8443, http://localhost:3000,capacitor://localhost",
        ["https://a.example:8443", "http://localhost:3000", "capacitor://localhost"],
      ],
      ["http://app.localhost:8080", ["http://app.localhost:8080"]],
    ],
    wrong: [
      "*",
      "null",
      "www.example.com",
      "https://*.example.com",
      "https://www.example.com/",
      "https://www.example.com/app",
      "https://www.example.com:443",
      "https://WWW.example.com",
      "https://user@www.example.com",
      "https://a.example https://b.example",
      "https://a.example,,https://b.example",
      "http://www.example.com",
    ],
  },
  BASE_PATH: {
    read: (config) => config.routePrefix,
    standard: "",
    right: [
      ["/api/chat-bff", "/api/chat-bff"],
      ["/v1.2/~chat", "/v1.2/~chat"],
    ],
    wrong: [
      "/",
      "api",
      "/api/",
      "//api",
      "/../api",
      "/a/.",
      "/%61",
      "/a b",
      "/:id",
      "/*",
      "/a?b",
      "/ä",
    ],
  },
  BASE_PATH_STRIPPED: {
    read: (config) => [config.basePath, config.routePrefix],
    beside: { BASE_PATH: "/api" },
    right: [
      ["true", ["/api", ""]],
      ["false", ["/api", "/api"]],
    ],
    wrong: WRONG_FLAGS,
  },
  PORT: {
    read: (config) => config.listen.port,
    standard: 8_787,
    right: [
      ["0", 0],
      ["65535", 65_535],
    ],
    wrong: ["65536", "-1", "80.5", "0x50", "http", "8 0", "1e3"],
  },
  HOST: {
    read: (config) => config.listen.host,
    standard: "0.0.0.0",
    right: [
      ["127.0.0.1", "127.0.0.1"],
      ["::", "::"],
      ["[::]", "::"],
      ["0:0:0:0:0:0:0:0", "::"],
      ["[2001:DB8::1]", "2001:db8::1"],
      ["fe80::1%eth0", "fe80::1%eth0"],
      ["[fe80::1%25eth0]", "fe80::1%eth0"],
      ["my_host-1.internal", "my_host-1.internal"],
    ],
    wrong: [
      "0.0.0.0:8787",
      "[::]:8787",
      "localhost:80",
      "[127.0.0.1]",
      "[]",
      "[::",
      "::]",
      "*",
      "http://a",
      "a b",
      "fe80::1%",
      "fe80::1%a%b",
    ],
  },
  UPONAI_BASE_URL: {
    read: (config) => config.upstream.origin,
    standard: "https://api.upon-ai.com",
    right: [
      ["https://upstream.example", "https://upstream.example"],
      ["https://upstream.example:8443/", "https://upstream.example:8443"],
      ["http://127.0.0.1:9000", "http://127.0.0.1:9000"],
      ["http://localhost:9000", "http://localhost:9000"],
      ["http://[::1]:9000", "http://[::1]:9000"],
    ],
    wrong: [
      ...WRONG_URLS,
      "https://a.example/v1",
      "https://a.example/?x=1",
      "https://a.example/#x",
      "https://me:pw@a.example",
      "http://localhost.attacker.example",
      "http://127.0.0.1.nip.io",
    ],
  },
  UPONAI_API_TOKEN: {
    read: (config) => workspaceOf(config)?.apiTokens,
    right: [
      ["token-1", ["token-1"]],
      ["new, old", ["new", "old"]],
      ["a.b_c~d+e/f-g==", ["a.b_c~d+e/f-g=="]],
    ],
    wrong: ["two words", "a,,b", "a,", "tok\nen", "töken", "a=b", ","],
  },
  UPONAI_WORKSPACE_ID: {
    read: (config) => workspaceOf(config)?.id,
    right: [
      ["1", 1],
      ["999999999999999", 999_999_999_999_999],
    ],
    wrong: ["0", "-1", "1.5", "acme", "1e3", "9999999999999999"],
  },
  WORKSPACES: {
    read: (config) => workspaceOf(config)?.id,
    beside: NO_WORKSPACE,
    right: [
      ['{"acme":7}', 7],
      ['{"acme":{"id":7}}', 7],
    ],
    wrong: ["acme", "[]", "{}", "42", "null", '{"acme":0}', '{"acme":"7"}', '{"acme":7'],
  },
  SESSION_SECRET: {
    read: (config) => config.session.key,
    right: [
      [SECRET, { kind: "secret", secret: SECRET }],
      // 32 bytes, not 32 characters.
      ["é".repeat(16), { kind: "secret", secret: "é".repeat(16) }],
    ],
    wrong: ["short", "x".repeat(31), "é".repeat(15)],
  },
  SESSION_PUBLIC_KEY: {
    read: (config) => config.session.key,
    beside: NO_KEY,
    right: [['{"kty":"RSA"}', { kind: "public", publicKey: '{"kty":"RSA"}' }]],
    // Whether it is a key is seen where it is read, since that takes the platform's cryptography.
    wrong: [],
  },
  SESSION_JWKS_URL: {
    read: (config) => config.session.key,
    beside: NO_KEY,
    right: [
      ["https://issuer.example/jwks", { kind: "jwks", url: "https://issuer.example/jwks" }],
      ["http://localhost:9/jwks?a=b", { kind: "jwks", url: "http://localhost:9/jwks?a=b" }],
    ],
    wrong: [...WRONG_URLS, "https://me:pw@issuer.example/jwks", "https://issuer.example/jwks#x"],
  },
  SESSION_ISSUER: {
    read: (config) => config.session.issuer,
    right: [["urn:issuer", "urn:issuer"]],
    wrong: ["urn:\nissuer", "urn:\u0000issuer", "x".repeat(1_001)],
  },
  SESSION_AUDIENCE: {
    read: (config) => config.session.audience,
    right: [["chat", "chat"]],
    wrong: ["ch\u0007at", "x".repeat(1_001)],
  },
  SESSION_WORKSPACE_CLAIM: {
    read: (config) => config.session.workspaceClaim,
    standard: "workspace",
    right: [["https://claims.example/org", "https://claims.example/org"]],
    wrong: ["a\nb", "x".repeat(201)],
  },
  TRUST_PROXY: {
    read: (config) => config.trustedProxies,
    standard: 0,
    right: [
      ["0", 0],
      ["20", 20],
    ],
    wrong: ["-1", "21", "true", "10.0.0.0/8", "1.5"],
  },
  LIMIT_SESSION: {
    read: (config) => workspaceOf(config)?.limits.session,
    standard: quota(20, 60),
    right: [
      ["5/1s;burst=2", quota(5, 1, 2)],
      ["off", "off"],
    ],
    wrong: WRONG_QUOTAS,
  },
  LIMIT_SESSION_DAILY: {
    read: (config) => workspaceOf(config)?.limits.sessionDaily,
    standard: "off",
    right: [["500/1d", quota(500, 86_400)]],
    wrong: WRONG_QUOTAS,
  },
  LIMIT_WORKSPACE: {
    read: (config) => workspaceOf(config)?.limits.workspace,
    standard: quota(600, 60),
    right: [
      ["1/1h", quota(1, 3_600)],
      ["off", "off"],
    ],
    wrong: WRONG_QUOTAS,
  },
  LIMIT_REPLAYS: {
    read: (config) => workspaceOf(config)?.limits.replays,
    standard: quota(60, 60),
    right: [
      ["10/1m", quota(10, 60)],
      ["off", "off"],
    ],
    wrong: WRONG_QUOTAS,
  },
  STORED_ANSWER_BYTES: {
    read: (config) => config.storedAnswers.answerBytesMax,
    standard: 65_536,
    right: [["1MiB", 1_048_576]],
    wrong: WRONG_SIZES,
  },
  STORED_BYTES_SUBJECT: {
    read: (config) => config.storedAnswers.subjectBytes,
    standard: 4_194_304,
    right: [["1MiB", 1_048_576]],
    wrong: WRONG_SIZES,
  },
  STORED_BYTES_WORKSPACE: {
    read: (config) => config.storedAnswers.workspaceBytes,
    standard: 33_554_432,
    right: [["1MiB", 1_048_576]],
    wrong: WRONG_SIZES,
  },
  LIMIT_IP: {
    read: (config) => workspaceOf(config)?.limits.ip,
    standard: quota(120, 60),
    right: [
      ["10/1m", quota(10, 60)],
      ["off", "off"],
    ],
    wrong: WRONG_QUOTAS,
  },
  LIMIT_AUTH_FAILURES: {
    read: (config) => config.authFailureLimit,
    standard: quota(30, 60),
    right: [
      ["3/1m", quota(3, 60)],
      ["off", "off"],
    ],
    wrong: WRONG_QUOTAS,
  },
  // The syntax has tests of its own beside `redis-url.ts`.
  REDIS_URL: {
    read: (config) => (config.state.kind === "redis" ? config.state.address.kind : undefined),
    standard: undefined,
    right: [
      ["redis://127.0.0.1:6379/0", "single"],
      ["redis://a.example,b.example", "cluster"],
      ["rediss+sentinel://a.example,b.example/main", "sentinel"],
    ],
    wrong: ["redis.example:6379", "http://redis.example", "redis://", "redis"],
  },
  STATE: {
    read: (config) => config.state.kind,
    standard: "memory",
    beside: { REDIS_URL: "redis://127.0.0.1" },
    right: [
      ["memory", "memory"],
      ["redis", "redis"],
    ],
    wrong: ["Redis", "none", "file"],
  },
  REDIS_PREFIX: {
    read: (config) => (config.state.kind === "redis" ? config.state.prefix : undefined),
    beside: { REDIS_URL: "redis://127.0.0.1" },
    right: [["chat:eu:", "chat:eu:"]],
    wrong: ["a{b", "a}b", "a b", "a\nb", "x".repeat(65)],
  },
  REDIS_TIMEOUT: {
    read: (config) => (config.state.kind === "redis" ? config.state.timeoutMs : undefined),
    beside: { REDIS_URL: "redis://127.0.0.1" },
    right: [["2s", 2_000]],
    wrong: WRONG_DURATIONS,
  },
  UPSTREAM_TIMEOUT: {
    read: (config) => config.upstream.timeoutMs,
    standard: 60_000,
    right: [["5m", 300_000]],
    wrong: WRONG_DURATIONS,
  },
  UPSTREAM_CONNECT_TIMEOUT: {
    read: (config) => config.upstream.connectTimeoutMs,
    standard: 5_000,
    right: [["250ms", 250]],
    wrong: WRONG_DURATIONS,
  },
  MAX_IN_FLIGHT: {
    read: (config) => config.inFlightMax,
    standard: 2_000,
    right: [
      ["1", 1],
      ["1000000", 1_000_000],
    ],
    wrong: ["0", "1000001", "-1", "many"],
  },
  MAX_CONNECTIONS: {
    read: (config) => config.connections.max,
    standard: 10_000,
    right: [
      ["1", 1],
      ["1000000", 1_000_000],
    ],
    wrong: ["0", "1000001", "-1", "off"],
  },
  MAX_CONNECTIONS_PER_ADDRESS: {
    read: (config) => config.connections.perAddressMax,
    standard: 2_500,
    right: [
      ["1", 1],
      ["1000000", 1_000_000],
      ["off", undefined],
    ],
    wrong: ["0", "1000001", "-1", "OFF", "1.5"],
  },
  KEEP_ALIVE_TIMEOUT: {
    read: (config) => config.connections.keepAliveMs,
    standard: 75_000,
    right: [
      ["1s", 1_000],
      ["620s", 620_000],
      ["1d", 86_400_000],
    ],
    wrong: [...WRONG_DURATIONS, "999ms", "25h"],
  },
  MAX_BODY_BYTES: {
    read: (config) => config.bodyBytesMax,
    standard: 32_768,
    right: [["64KiB", 65_536]],
    wrong: WRONG_SIZES,
  },
  MAX_CONTENT_CHARS: {
    read: (config) => config.contentCharsMax,
    standard: 8_000,
    right: [
      ["1", 1],
      ["1000000", 1_000_000],
    ],
    wrong: ["0", "1000001", "8k", "-1"],
  },
  MAX_UPSTREAM_BYTES: {
    read: (config) => config.upstream.answerBytesMax,
    standard: 1_048_576,
    right: [["2MiB", 2_097_152]],
    wrong: WRONG_SIZES,
  },
  SHUTDOWN_DELAY: {
    read: (config) => config.shutdown.delayMs,
    standard: 0,
    right: [
      ["0", 0],
      ["0s", 0],
      ["5s", 5_000],
      ["10m", 600_000],
    ],
    wrong: ["5", "-1s", "00s", "11m", "soon"],
  },
  SHUTDOWN_GRACE: {
    read: (config) => config.shutdown.graceMs,
    standard: 65_000,
    right: [["10s", 10_000]],
    wrong: WRONG_DURATIONS,
  },
  EXPOSE_TOOL_CALLS: {
    read: (config) => config.exposeToolCalls,
    standard: false,
    right: [
      ["true", true],
      ["false", false],
    ],
    wrong: WRONG_FLAGS,
  },
  LOG_LEVEL: {
    read: (config) => config.log.level,
    standard: "info",
    right: [
      ["debug", "debug"],
      ["fatal", "fatal"],
    ],
    wrong: ["INFO", "trace", "verbose", "30"],
  },
  LOG_PRETTY: {
    read: (config) => config.log.pretty,
    standard: false,
    right: [
      ["true", true],
      ["false", false],
    ],
    wrong: WRONG_FLAGS,
  },
};

const each = variableNames.map((name) => Object.assign({ name }, cases[name]));

describe("every variable", () => {
  const whereUnset = each.filter((entry) => "standard" in entry);

  test.each(whereUnset)("$name unset means its default", ({ read, standard }) => {
    expect(read(configOf(GOOD))).toEqual(standard);
  });

  test.each(whereUnset)("$name set to nothing counts as unset", ({ name, read, standard }) => {
    expect(read(configOf({ ...GOOD, [name]: "" }))).toEqual(standard);
  });

  const defaulted = each.flatMap((entry) => {
    const variable = variables[entry.name];
    return "defaultText" in variable ? [{ ...entry, text: variable.defaultText }] : [];
  });

  test("has a default, or the documentation says what applies without it", () => {
    expect(defaulted.length).toBeGreaterThan(30);
    for (const name of variableNames) expect(describeDefault(name)).toMatch(/\S/);
  });

  test.each(defaulted)("$name: its own schema accepts the documented default", (entry) => {
    expect(variables[entry.name].schema.safeParse(entry.text)).toMatchObject({ success: true });
  });

  test.each(defaulted)("$name: the documented default is the one that applies", (entry) => {
    const { name, text, beside, read } = entry;
    const unset = read(configOf({ ...GOOD, ...beside }));
    expect(unset).toBeDefined();
    expect(read(configOf({ ...GOOD, ...beside, [name]: text }))).toEqual(unset);
    if ("standard" in entry) expect(unset).toEqual(entry.standard);
  });

  test("that is refused leaves its default to the other checks", () => {
    const refused = parseVariable("TRUST_PROXY", "many");
    expect(refused).toEqual({ value: 0, problems: ["must be a whole number from 0 to 20"] });
    expect(parseVariable("SESSION_ISSUER", "two\nlines").value).toBeUndefined();
  });

  const rightValues = each.flatMap(({ right, ...entry }) =>
    right.map(([text, value]) => ({ ...entry, text, value })),
  );

  test.each(rightValues)("$name takes $text", ({ name, text, value, read, beside }) => {
    expect(read(configOf({ ...GOOD, ...beside, [name]: text }))).toEqual(value);
  });

  const wrongValues = each.flatMap(({ wrong, ...entry }) =>
    wrong.map((text) => ({ ...entry, text })),
  );

  test.each(wrongValues)("$name refuses $text by name and with an example", (wrong) => {
    const problems = problemsOf({ ...GOOD, ...wrong.beside, [wrong.name]: wrong.text });
    const own = problems.find(({ variable }) => variable === wrong.name);
    expect(own?.problem).toMatch(/\S/);
    expect(own?.example).toBe(variables[wrong.name].example);
    expect(own?.example).toMatch(/\S/);
  });

  const literal = each.filter(
    ({ name }) =>
      !["SESSION_SECRET", "UPONAI_API_TOKEN", "SESSION_PUBLIC_KEY", "COOKIE_KEYS"].includes(name),
  );

  test.each(literal)("the example of $name is a right value", ({ name, beside }) => {
    const environment = { ...GOOD, REDIS_URL: "redis://127.0.0.1", ...beside };
    expect(problemsOf({ ...environment, [name]: variables[name].example })).toEqual([]);
  });

  const bounded = variableNames.flatMap((name) => {
    const { accepted = [], refused = [] } = describeExpectation(name) ?? {};
    const right = accepted.map((text) => ({ name, text, right: true }));
    return right.concat(refused.map((text) => ({ name, text, right: false })));
  });

  test("has documented values", () => {
    const silent = variableNames.filter((name) => describeExpectation(name) === undefined);
    expect(silent).toEqual([]);
    expect(bounded.length).toBeGreaterThan(150);
  });

  test.each(bounded)("$name has its documented bounds: $text is right: $right", (bound) => {
    expect(variables[bound.name].schema.safeParse(bound.text).success).toBe(bound.right);
  });

  // "is required" beside a value that is set would lead the reader to the wrong fault.
  test.each([
    ["SESSION_SECRET", "short", {}],
    ["SESSION_JWKS_URL", "http://a.example", NO_KEY],
    ["UPONAI_API_TOKEN", "two words", {}],
    ["UPONAI_WORKSPACE_ID", "0", {}],
    ["WORKSPACES", '{"acme":0}', NO_WORKSPACE],
    ["REDIS_URL", "redis.example", { NODE_ENV: "production" }],
    ["STATE", "none", { NODE_ENV: "production" }],
  ] as const)(
    "a wrong %s is told as wrong, in one line, and not as missing",
    (name, text, also) => {
      const problems = problemsOf({ ...GOOD, ...also, [name]: text });
      expect(problems.map(({ variable }) => variable)).toEqual([name]);
    },
  );

  // Past 2^31 - 1 ms (24.8 days) a timer fires at once: every call would time out immediately.
  test.each(["REDIS_TIMEOUT", "UPSTREAM_TIMEOUT", "UPSTREAM_CONNECT_TIMEOUT", "SHUTDOWN_GRACE"])(
    "%s refuses a duration that no timer can hold",
    (name) => {
      const environment = { ...GOOD, REDIS_URL: "redis://127.0.0.1" };
      expect(problemsOf({ ...environment, [name]: "24d" })).toEqual([]);
      for (const text of ["25d", "30d", "999999999d"]) {
        const named = problemsOf({ ...environment, [name]: text }).map(({ variable }) => variable);
        expect(named).toEqual([name]);
      }
    },
  );
});
