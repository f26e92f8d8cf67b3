/**
 * The environment variables: what each may hold, its default, and what the README and `.env.example`
 * say about it.
 */
import { base64url } from "jose";
import { z } from "zod";

import { parseNames, parseVariableMapping } from "./name-lists.ts";
import { redisUrl } from "./redis-url.ts";
import { parseByteSize, parseDelay, parseDuration, parseQuota } from "./units.ts";
import { parseAgentId, workspaceTable } from "./workspace-table.ts";

/** One variable of the environment. */
interface Variable<Schema extends z.ZodType> {
  readonly schema: Schema;
  /** For the documentation: one sentence. */
  readonly about: string;
  /** A right value, shown beside every error. For a secret: how to make one. */
  readonly example: string;
  /** The default as a user would write it, or why there is none. */
  readonly standard: string;
  /** Never shown in an error; may also come as `NAME_FILE`. */
  readonly secret?: true;
}

function define<Schema extends z.ZodType>(variable: Variable<Schema>): Variable<Schema> {
  return variable;
}

/** What a schema accepts, for the documentation, with the values next to its bounds for the tests. */
interface Expectation {
  /** Completes the sentence "The value must be …". */
  readonly text: string;
  /** The least and the greatest value, as a user would write them. */
  readonly accepted: readonly string[];
  /** The values just beyond those. */
  readonly refused: readonly string[];
}

const expectations = new WeakMap<z.ZodType, Expectation>();

/** What the variable may hold; undefined where its schema does not say. */
export function describeExpectation(name: VariableName): Expectation | undefined {
  return expectations.get(variables[name].schema);
}

function expecting<Schema extends z.ZodType>(
  schema: Schema,
  text: string,
  edges: Partial<Omit<Expectation, "text">> = {},
): Schema {
  expectations.set(schema, { text, accepted: [], refused: [], ...edges });
  return schema;
}

/** A text that `parse` turns into a value; `undefined` from `parse` is an error. */
function parsed<Value>(
  parse: (text: string) => Value | undefined,
  expected: string,
  edges?: Partial<Omit<Expectation, "text">>,
) {
  const schema = z.string().transform((text, context): Value => {
    const value = parse(text);
    if (value !== undefined) return value;
    context.addIssue({ code: "custom", message: `must be ${expected}${explainAddress(text)}` });
    return z.NEVER;
  });
  return expecting(schema, expected, edges);
}

/** For a service named `admin` Kubernetes sets `ADMIN_PORT` to its address, in every pod. */
function explainAddress(text: string): string {
  if (!/^(?:tcp|udp|sctp):\/\//.test(text)) return "";
  return ". Kubernetes set it to the address of a service whose name starts this variable's: set enableServiceLinks: false in the pod's spec, or set the variable in the pod yourself";
}

function integer(min: number, max: number) {
  return parsed(
    (text) => {
      if (!/^\d{1,15}$/.test(text)) return undefined;
      const value = Number(text);
      return value >= min && value <= max ? value : undefined;
    },
    `a whole number from ${min} to ${max}`,
    { accepted: [String(min), String(max)], refused: [String(min - 1), String(max + 1)] },
  );
}

const countOrOff = parsed(
  (text): number | "off" | undefined => {
    if (text === "off") return text;
    if (!/^\d{1,7}$/.test(text)) return undefined;
    const value = Number(text);
    return value >= 1 && value <= 1_000_000 ? value : undefined;
  },
  "a whole number from 1 to 1000000, or off",
  { accepted: ["1", "1000000", "off"], refused: ["0", "1000001"] },
);

/** A duration from `least` to `most`, both in the form of the configuration. */
function duration(least: string, most: string, examples: string) {
  const [leastMs = 0, mostMs = 0] = [least, most].map(parseDelay);
  const form = /^(\d+)([a-z]+)$/.exec(most) ?? [];
  return parsed(
    (text) => {
      const ms = leastMs === 0 ? parseDelay(text) : parseDuration(text);
      return ms !== undefined && ms >= leastMs && ms <= mostMs ? ms : undefined;
    },
    `a duration such as ${examples}, from ${least} to ${most}`,
    {
      accepted: [least, most],
      refused: [
        ...(leastMs === 0 ? ["-1ms"] : [`${leastMs - 1}ms`]),
        `${Number(form[1]) + 1}${form[2]}`,
      ],
    },
  );
}

// A timer of the platform holds 2^31 - 1 ms (24.8 days); with a longer time it would fire at once.
const timeout = duration("1ms", "24d", "500ms, 60s or 5m");

/** A size from 1 byte to `most`. */
function byteSizeUpTo(most: string) {
  const mostBytes = parseByteSize(most) ?? 0;
  return parsed(
    (text) => {
      const bytes = parseByteSize(text);
      return bytes !== undefined && bytes <= mostBytes ? bytes : undefined;
    },
    `a size such as 8000, 32KiB or 1MiB, from 1 byte to ${most}`,
    { accepted: ["1", "1B", most, String(mostBytes)], refused: ["0", String(mostBytes + 1)] },
  );
}

// A string of the platform holds no more than 512 Mi characters, and a body becomes one.
const byteSize = byteSizeUpTo("256MiB");

const quota = parsed(
  parseQuota,
  "a quota such as 20/1m or 20/1m;burst=5, or off (1 to 9999999 requests and burst, in 1 to 99999 s, m, h or d; at most 1000000 a second; the whole burst back within 3650d)",
  {
    accepted: [
      "1/1s",
      "9999999/99999d;burst=1",
      "1/1s;burst=9999999",
      "1000000/1s",
      "1/3650d",
      "off",
    ],
    refused: [
      "0/1s",
      "10000000/99999d;burst=1",
      "1/0s",
      "9999999/100000d;burst=1",
      "1/1s;burst=0",
      "1/1s;burst=10000000",
      "1000001/1s",
      "1/3651d",
    ],
  },
);

const flag = parsed(
  (text) => (text === "true" ? true : text === "false" ? false : undefined),
  "true or false",
  { accepted: ["true", "false"] },
);

/** OpenTelemetry's own variables are true or false in any case of letters. */
const openTelemetryFlag = parsed(
  (text) => (/^true$/i.test(text) ? true : /^false$/i.test(text) ? false : undefined),
  "true or false",
  { accepted: ["true", "false"] },
);

/** One of a few words. */
function oneOf<const Word extends string>(...words: readonly Word[]) {
  const expected = `${words.slice(0, -1).join(", ")} or ${words.at(-1)}`;
  return parsed((text) => words.find((word) => word === text), expected, { accepted: words });
}

/** One line of text, of 1 to `max` characters. */
function line(max: number) {
  return parsed(
    (text) => (text.length <= max && !/\p{Cc}/u.test(text) ? text : undefined),
    `text of 1 to ${max} characters in one line`,
    { accepted: ["x", "x".repeat(max)], refused: ["x".repeat(max + 1), "two\nlines"] },
  );
}

/** The address to listen on; brackets around IPv6, as in a URL, are removed. */
const host = parsed((text) => {
  const address = /^\[(.*)\]$/.exec(text)?.[1] ?? text;
  if (!address.includes(":")) {
    return text === address && /^[A-Za-z0-9._-]{1,253}$/.test(text) ? text : undefined;
  }
  const [ip = "", zone, ...rest] = address.split("%");
  const url = `http://[${ip}]/`;
  if (!URL.canParse(url) || rest.length > 0) return undefined;
  const canonical = new URL(url).hostname.slice(1, -1);
  if (zone === undefined) return canonical;
  // In a URL the percent sign of a zone is itself escaped (RFC 6874).
  const name = zone.replace(/^25(?=.)/, "");
  return /^[\w.-]{1,64}$/.test(name) ? `${canonical}%${name}` : undefined;
}, "an IPv4 address, an IPv6 address such as :: or [::], or a host name, without a port");

const LOOPBACK_HOSTS = new Set(["localhost", "127.0.0.1", "[::1]"]);

/** An http(s) URL without credentials or fragment; plain http only on loopback. */
function parseServiceUrl(text: string): URL | undefined {
  if (!URL.canParse(text)) return undefined;
  const url = new URL(text);
  const secure = url.protocol === "https:";
  const loopback = url.protocol === "http:" && LOOPBACK_HOSTS.has(url.hostname);
  const plain = url.username === "" && url.password === "" && url.hash === "";
  return (secure || loopback) && plain ? url : undefined;
}

const origin = parsed((text) => {
  const url = parseServiceUrl(text);
  return url !== undefined && url.pathname === "/" && url.search === "" ? url.origin : undefined;
}, "an https origin without a path (http only on loopback)");

const serviceUrl = parsed(
  (text) => parseServiceUrl(text)?.href,
  "an https URL without credentials (http only on loopback)",
);

/** Inside a network a collector speaks plain http, and gets no secret of ours. */
const collectorUrl = parsed((text) => {
  if (!/^https?:\/\//.test(text) || !URL.canParse(text)) return undefined;
  const { username, password, search, hash, href } = new URL(text);
  return [username, password, search, hash].every((part) => part === "") ? href : undefined;
}, "an http or https URL without credentials or query");

// A header value: what RFC 6750 section 2.1 calls b64token. Anything else could not be sent.
const apiTokens = parsed((text) => {
  const tokens = text.split(",").map((token) => token.trim());
  return tokens.every((token) => /^[A-Za-z0-9._~+/-]+=*$/.test(token)) ? tokens : undefined;
}, "one API token, or several separated by commas");

const COOKIE_KEY_BYTES = 32;

const cookieKeys = parsed((text) => {
  const keys = text.split(",").map((key) => key.trim());
  if (!keys.every((key) => /^[A-Za-z0-9_-]{43}=?$/.test(key))) return undefined;
  const decoded = keys.map((key) => base64url.decode(key.replace("=", "")));
  return decoded.every((key) => key.byteLength === COOKIE_KEY_BYTES) ? decoded : undefined;
}, "one or more keys of 32 bytes in base64url, separated by commas");

const origins = parsed((text) => {
  const list = text.split(",").map((entry) => entry.trim());
  return list.every(isOrigin) ? new Set(list) : undefined;
}, "exact origins separated by commas, such as https://www.example.com: scheme and host, no path, no wildcard (http only on localhost)");

const names = parsed(
  parseNames,
  "names separated by commas, at most 32: letters, digits, underscores, dots and hyphens, 64 characters each, none that starts with uponai_bff_",
);
const variableMapping = parsed(
  parseVariableMapping,
  "pairs such as plan=plan,customer_name=profile.name, at most 32, each variable once; names of variables as in CHAT_VARIABLES",
);

/** As a browser writes it in the `Origin` header; apps' own schemes (capacitor://) included. */
function isOrigin(text: string): boolean {
  if (!/^[a-z][a-z0-9+.-]*:\/\/[^\s/?#*@]+$/.test(text) || !URL.canParse(text)) return false;
  const { protocol, hostname, origin } = new URL(text);
  if (protocol === "https:") return origin === text;
  if (protocol !== "http:") return true;
  return origin === text && (LOOPBACK_HOSTS.has(hostname) || hostname.endsWith(".localhost"));
}

const encoder = new TextEncoder();
const sessionSecret = parsed(
  (text) => (encoder.encode(text).byteLength >= 32 ? text : undefined),
  "at least 32 bytes",
  { accepted: ["x".repeat(32)], refused: ["x".repeat(31)] },
);

const agentId = parsed(
  parseAgentId,
  "an agent id: 1 to 200 characters, no spaces or control characters",
  { accepted: ["x", "x".repeat(200)], refused: ["x".repeat(201)] },
);

const redisPrefix = parsed(
  // Braces would move the hash tag, and with it the keys of one admission, to other slots.
  (text) => (/^[^{}\s\p{C}]{1,64}$/u.test(text) ? text : undefined),
  "1 to 64 characters without braces, spaces or control characters",
  { accepted: ["x", "x".repeat(64)], refused: ["x".repeat(65)] },
);

export const variables = {
  PORT: define({
    schema: integer(0, 65_535),
    about: "Port of the public listener; 0 takes any free one.",
    example: "8787",
    standard: "8787",
  }),
  HOST: define({
    schema: host,
    about: "Address of the public listener.",
    example: "0.0.0.0",
    standard: "0.0.0.0",
  }),
  ADMIN_PORT: define({
    schema: integer(0, 65_535),
    about:
      "Port of a second listener with `/metrics`, `/healthz` and `/readyz`, for operators alone; 0 takes any free one.",
    example: "9464",
    standard: "none: no metrics",
  }),
  ADMIN_HOST: define({
    schema: host,
    about: "Address of that listener.",
    example: "127.0.0.1",
    standard: "127.0.0.1",
  }),
  UPONAI_BASE_URL: define({
    schema: origin,
    about: "Origin of the UponAI API; https unless on loopback.",
    example: "https://api.upon-ai.com",
    standard: "https://api.upon-ai.com",
  }),
  UPONAI_API_TOKEN: define({
    schema: apiTokens,
    about:
      "UponAI API token. Several, comma-separated, while rotating: when UponAI answers 401 the next one is tried, once, and remembered.",
    example: "a token from your profile settings at app.uponai.com",
    standard: "required unless every workspace has its own",
    secret: true,
  }),
  UPONAI_WORKSPACE_ID: define({
    schema: integer(1, 999_999_999_999_999),
    about: "The one workspace of all sessions.",
    example: "42",
    standard: "this or WORKSPACES is required",
  }),
  WORKSPACES: define({
    schema: expecting(
      workspaceTable,
      "a JSON object; ids from 1 to 9007199254740991, agent ids as UPONAI_AGENT_ID, limits as LIMIT_SESSION",
      {
        accepted: ['{"acme":1}', '{"acme":9007199254740991}'],
        refused: ['{"acme":0}', '{"acme":9007199254740992}', "{}"],
      },
    ),
    about:
      "JSON object from the value of the session's workspace claim to a workspace id, or to `{id, agentId?, apiToken?, limits?: {session?, sessionDaily?, workspace?, replays?}}`.",
    example: '{"acme":42,"globex":{"id":43,"limits":{"session":"5/1m"}}}',
    standard: "this or UPONAI_WORKSPACE_ID is required",
    secret: true,
  }),
  UPONAI_AGENT_ID: define({
    schema: agentId,
    about: "Agent that `POST /chat` starts chats with, where the workspace names none of its own.",
    example: "agent_0123456789",
    standard: "none: no chats are started",
  }),
  SESSION_SECRET: define({
    schema: sessionSecret,
    about: "Shared secret that signs session tokens (HS256); at least 32 bytes.",
    example: "the output of: openssl rand -base64 48",
    standard: "exactly one of the three SESSION_ keys is required",
    secret: true,
  }),
  SESSION_PUBLIC_KEY: define({
    schema: expecting(z.string(), "a public key as PEM (SPKI), JWK or JWKS"),
    about: "Public key that verifies session tokens: PEM (SPKI), or JWK or JWKS JSON.",
    example: "-----BEGIN PUBLIC KEY----- … (PEM), or a JWK or JWKS as JSON",
    standard: "see SESSION_SECRET",
    secret: true,
  }),
  SESSION_JWKS_URL: define({
    schema: serviceUrl,
    about: "URL of the issuer's JWKS; https unless on loopback.",
    example: "https://issuer.example/.well-known/jwks.json",
    standard: "see SESSION_SECRET",
  }),
  SESSION_ISSUER: define({
    schema: line(1_000),
    about: "The `iss` that session tokens must have.",
    example: "https://issuer.example/",
    standard: "required",
  }),
  SESSION_AUDIENCE: define({
    schema: line(1_000),
    about: "The `aud` that session tokens must have.",
    example: "uponai-bff",
    standard: "required",
  }),
  SESSION_WORKSPACE_CLAIM: define({
    schema: line(200),
    about: "Claim that names the workspace; looked up literally first, then as a dot path.",
    example: "workspace",
    standard: "workspace",
  }),
  SESSION_CHATS_CLAIM: define({
    schema: line(200),
    about: "Claim that lists the chats a session is confined to; looked up in the same way.",
    example: "chats",
    standard: "chats",
  }),
  SESSION_VARIABLES: define({
    schema: variableMapping,
    about:
      "Dynamic variables that `POST /chat` takes from the session: `variable=claim`, comma-separated; claims are looked up in the same way. What a client sends for such a variable is never used.",
    example: "plan=plan,customer_name=profile.name",
    standard: "none: the session sets no variables",
  }),
  COOKIE_KEYS: define({
    schema: cookieKeys,
    about:
      "Keys that seal session cookies: 32 bytes each in base64url, comma-separated. The first seals, every one opens (rotation).",
    example: "the output of: npx uponai-bff keys cookie",
    standard: "none: no cookie sessions",
    secret: true,
  }),
  COOKIE_MAX_AGE: define({
    // Browsers keep no cookie for longer (RFC 6265bis section 5.5), and count in seconds.
    schema: duration("1s", "400d", "30m, 8h or 30d"),
    about: "Longest life of a session cookie; never longer than its token's.",
    example: "8h",
    standard: "8h",
  }),
  COOKIE_INSECURE: define({
    schema: flag,
    about:
      "Plain-http development on localhost: cookies without Secure and without the __Host- prefix. Refused in production.",
    example: "true",
    standard: "false",
  }),
  ALLOWED_ORIGINS: define({
    schema: origins,
    about:
      "Exact origins, comma-separated, whose pages may send with credentials and read the answers, besides our own.",
    example: "https://www.example.com,https://shop.example.com",
    standard: "none: same origin only",
  }),
  TRUST_PROXY: define({
    schema: integer(0, 20),
    about:
      "Number of proxies in front: the client's address is that entry of X-Forwarded-For, counted from the right.",
    example: "1",
    standard: "0",
  }),
  CHAT_ACCESS: define({
    schema: oneOf("first-use", "claim", "workspace"),
    about:
      "Whose chats a session may use besides those that it started and those that its token's chats claim lists: `first-use`, those that it was the first to use; `claim`, no others; `workspace`, all of its workspace.",
    example: "first-use",
    standard: "first-use",
  }),
  CHAT_OWNER_TTL: define({
    schema: duration("1d", "3650d", "30d"),
    about: "How long a chat stays its owner's after its last use.",
    example: "30d",
    standard: "30d",
  }),
  CHAT_VARIABLES: define({
    schema: names,
    about:
      "Names of the agent's dynamic variables that a client may choose in `POST /chat`, comma-separated; others are refused.",
    example: "language,page",
    standard: "none: no variable is the client's choice",
  }),
  CHAT_METADATA: define({
    schema: names,
    about:
      "Names of the metadata members that a client may choose in `POST /chat`, comma-separated; others are refused.",
    example: "page,campaign",
    standard: "none: no metadata is the client's choice",
  }),
  LIMIT_SESSION: define({
    schema: quota,
    about: "Messages per session subject and workspace.",
    example: "20/1m;burst=5",
    standard: "20/1m",
  }),
  LIMIT_SESSION_DAILY: define({
    schema: quota,
    about: "A second, longer limit on the same.",
    example: "500/1d",
    standard: "off",
  }),
  LIMIT_WORKSPACE: define({
    schema: quota,
    about: "Messages per workspace.",
    example: "600/1m",
    standard: "600/1m",
  }),
  LIMIT_IP: define({
    schema: quota,
    about: "Messages per workspace and client address (IPv6 by /64).",
    example: "120/1m",
    standard: "120/1m",
  }),
  LIMIT_REPLAYS: define({
    schema: quota,
    about:
      "Stored answers given again per session subject and workspace; besides, 16 MiB of them per minute.",
    example: "60/1m",
    standard: "60/1m",
  }),
  LIMIT_AUTH_FAILURES: define({
    schema: quota,
    about: "Wrong credentials per client address; past it they are answered 429 instead of 401.",
    example: "30/1m",
    standard: "30/1m",
  }),
  STORED_ANSWER_BYTES: define({
    schema: byteSize,
    about:
      "Largest answer that is stored for its Idempotency-Key; a repeat of a larger one finds it in the transcript.",
    example: "64KiB",
    standard: "64KiB",
  }),
  STORED_BYTES_SUBJECT: define({
    schema: byteSize,
    about:
      "Answers stored per session subject and workspace in 24 hours, in bytes; half of it at once.",
    example: "4MiB",
    standard: "4MiB",
  }),
  STORED_BYTES_WORKSPACE: define({
    schema: byteSize,
    about:
      "Answers stored per workspace in 24 hours, in bytes; half of it at once. All workspaces together must fit into the memory of the state.",
    example: "32MiB",
    standard: "32MiB",
  }),
  REDIS_URL: define({
    schema: expecting(
      redisUrl,
      "a redis://, rediss://, redis+sentinel:// or redis+cluster:// URL; a database from 0 to 999",
      {
        accepted: ["redis://redis.example/0", "redis://redis.example/999"],
        refused: ["redis://redis.example/1000"],
      },
    ),
    about:
      "Redis that holds limits and locks, shared by all instances: redis:// or rediss:// (TLS). Several nodes, comma-separated, are a Redis Cluster; redis+sentinel://host,host/name asks Sentinels. See docs/redis.md.",
    example: "redis://127.0.0.1:6379/0",
    standard: "unset: state in this process, with a warning; refused in production",
    secret: true,
  }),
  STATE: define({
    schema: oneOf("redis", "memory", "durable-object"),
    about:
      "Where the state lives. `memory` says that one instance alone is meant; `durable-object` is for Cloudflare Workers alone.",
    example: "redis",
    standard: "redis when REDIS_URL is set, else memory (on Workers durable-object)",
  }),
  REDIS_PREFIX: define({
    schema: redisPrefix,
    about: "Prefix of every Redis key.",
    example: "bff:",
    standard: "bff:",
  }),
  REDIS_TIMEOUT: define({
    schema: timeout,
    about: "Longest wait for the state, per request.",
    example: "500ms",
    standard: "500ms",
  }),
  UPSTREAM_TIMEOUT: define({
    schema: timeout,
    about: "Longest wait for UponAI's whole answer.",
    example: "60s",
    standard: "60s",
  }),
  UPSTREAM_CONNECT_TIMEOUT: define({
    schema: timeout,
    about: "Longest wait for a connection to UponAI.",
    example: "5s",
    standard: "5s",
  }),
  RECOVERY_WINDOW: define({
    schema: timeout,
    about: "Longest search for a lost answer in the chat's transcript, while the client waits.",
    example: "20s",
    standard: "20s",
  }),
  MAX_IN_FLIGHT: define({
    schema: integer(1, 1_000_000),
    about: "Requests worked on at once; more are refused with 503.",
    example: "2000",
    standard: "2000",
  }),
  MAX_BODY_BYTES: define({
    schema: byteSize,
    about: "Largest request body, counted while it is read.",
    example: "32KiB",
    standard: "32KiB",
  }),
  MAX_CONTENT_CHARS: define({
    schema: integer(1, 1_000_000),
    about: "Longest message, in Unicode code points.",
    example: "8000",
    standard: "8000",
  }),
  MAX_UPSTREAM_BYTES: define({
    schema: byteSize,
    about: "Largest answer from UponAI, counted after decoding.",
    example: "1MiB",
    standard: "1MiB",
  }),
  MAX_CONNECTIONS: define({
    schema: integer(1, 1_000_000),
    about: "Connections to a listener at once; more are closed at once.",
    example: "10000",
    standard: "10000",
  }),
  MAX_CONNECTIONS_PER_ADDRESS: define({
    schema: countOrOff,
    about:
      "Of those, from one address (IPv6 by /64), or off. It counts the other end of each socket: behind a proxy that is the proxy.",
    example: "2500",
    standard: "2500; off where TRUST_PROXY is set",
  }),
  KEEP_ALIVE_TIMEOUT: define({
    schema: duration("1s", "1d", "75s"),
    about:
      "How long an idle connection of a client is kept. Behind a load balancer: longer than it keeps its own.",
    example: "75s",
    standard: "75s",
  }),
  SHUTDOWN_DELAY: define({
    schema: duration("0s", "10m", "5s"),
    about:
      "How long requests are still served after SIGTERM or SIGINT while `/readyz` answers 503, so that load balancers stop sending; 5s is right for Kubernetes.",
    example: "5s",
    standard: "0s",
  }),
  SHUTDOWN_GRACE: define({
    schema: timeout,
    about: "Longest drain after SIGTERM or SIGINT, and after `SHUTDOWN_DELAY`.",
    example: "65s",
    standard: "65s",
  }),
  EXPOSE_TOOL_CALLS: define({
    schema: flag,
    about: "Whether answers carry the agent's tool calls, which can hold internal data.",
    example: "false",
    standard: "false",
  }),
  OTEL_EXPORTER_OTLP_ENDPOINT: define({
    schema: collectorUrl,
    about:
      "Base URL of an OpenTelemetry collector (OTLP over HTTP) for traces; needs the optional packages of the README.",
    example: "http://127.0.0.1:4318",
    standard: "none: no traces",
  }),
  OTEL_SERVICE_NAME: define({
    schema: line(200),
    about: "Name of this service in traces.",
    example: "chat-backend",
    standard: "uponai-bff",
  }),
  OTEL_SDK_DISABLED: define({
    schema: openTelemetryFlag,
    about: "Whether tracing is off although `OTEL_EXPORTER_OTLP_ENDPOINT` is set.",
    example: "true",
    standard: "false",
  }),
  LOG_LEVEL: define({
    schema: oneOf("debug", "info", "warn", "error", "fatal"),
    about: "Least level that is logged.",
    example: "info",
    standard: "info",
  }),
  LOG_PRETTY: define({
    schema: flag,
    about: "Log lines for people; only on a terminal, and not in production.",
    example: "true",
    standard: "false",
  }),
} as const;

export type VariableName = keyof typeof variables;

export const variableNames: readonly VariableName[] = Object.keys(variables).filter(isVariableName);

export function isVariableName(name: string): name is VariableName {
  return Object.hasOwn(variables, name);
}

type Values = { readonly [Name in VariableName]?: z.output<(typeof variables)[Name]["schema"]> };

/** What the environment said, each value checked for itself; defaults and cross-checks come later. */
export type VariableValues = Values;
