/**
 * Owns the environment variables: what each may hold, its default, and what the README and
 * `.env.example` say of it. The one source of all three.
 */
import { base64url } from "jose";
import { z } from "zod";

import { parseNames, parseVariableMapping } from "./name-lists.ts";
import { redisUrl } from "./redis-url.ts";
import { parseByteSize, parseDuration, parseQuota } from "./units.ts";
import { workspaceTable } from "./workspace-table.ts";

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

/** A text that `parse` turns into a value; `undefined` from `parse` is an error. */
function parsed<Value>(parse: (text: string) => Value | undefined, expected: string) {
  return z.string().transform((text, context): Value => {
    const value = parse(text);
    if (value !== undefined) return value;
    context.addIssue({ code: "custom", message: `must be ${expected}` });
    return z.NEVER;
  });
}

function integer(min: number, max: number) {
  return parsed((text) => {
    if (!/^\d{1,15}$/.test(text)) return undefined;
    const value = Number(text);
    return value >= min && value <= max ? value : undefined;
  }, `a whole number from ${min} to ${max}`);
}

const countOrOff = parsed((text): number | "off" | undefined => {
  if (text === "off") return text;
  if (!/^\d{1,7}$/.test(text)) return undefined;
  const value = Number(text);
  return value >= 1 && value <= 1_000_000 ? value : undefined;
}, "a whole number from 1 to 1000000, or off");

/** Longest delay that a timer of the platform can hold; a longer one would fire at once. */
const TIMER_MS_MAX = 2_147_483_647;

const timeout = parsed((text) => {
  const ms = parseDuration(text);
  return ms !== undefined && ms <= TIMER_MS_MAX ? ms : undefined;
}, "a duration such as 500ms, 60s or 5m, and at most 24 days");
const byteSize = parsed(parseByteSize, "a size such as 8000, 32KiB or 1MiB");
const quota = parsed(
  parseQuota,
  "a quota such as 20/1m or 20/1m;burst=5 (windows s, m, h, d; nothing zero), or off",
);
const flag = parsed(
  (text) => (text === "true" ? true : text === "false" ? false : undefined),
  "true or false",
);

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

const DAY_MS = 86_400_000;

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

export const variables = {
  PORT: define({
    schema: integer(0, 65_535),
    about: "Port of the public listener; 0 takes any free one.",
    example: "8787",
    standard: "8787",
  }),
  HOST: define({
    schema: z.string(),
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
    schema: z.string(),
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
    schema: workspaceTable,
    about:
      "JSON object from the value of the session's workspace claim to a workspace id, or to `{id, agentId?, apiToken?, limits?: {session?, sessionDaily?, workspace?}}`.",
    example: '{"acme":42,"globex":{"id":43,"limits":{"session":"5/1m"}}}',
    standard: "this or UPONAI_WORKSPACE_ID is required",
    secret: true,
  }),
  UPONAI_AGENT_ID: define({
    schema: z.string().regex(/^\S{1,200}$/, "must be an agent id: 1 to 200 characters, no spaces"),
    about: "Agent that `POST /chat` starts chats with, where the workspace names none of its own.",
    example: "agent_0123456789",
    standard: "none: no chats are started",
  }),
  SESSION_SECRET: define({
    schema: z
      .string()
      .refine(
        (text) => new TextEncoder().encode(text).byteLength >= 32,
        "must be at least 32 bytes",
      ),
    about: "Shared secret that signs session tokens (HS256); at least 32 bytes.",
    example: "the output of: openssl rand -base64 48",
    standard: "exactly one of the three SESSION_ keys is required",
    secret: true,
  }),
  SESSION_PUBLIC_KEY: define({
    schema: z.string(),
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
    schema: z.string(),
    about: "The `iss` that session tokens must have.",
    example: "https://issuer.example/",
    standard: "required",
  }),
  SESSION_AUDIENCE: define({
    schema: z.string(),
    about: "The `aud` that session tokens must have.",
    example: "uponai-bff",
    standard: "required",
  }),
  SESSION_WORKSPACE_CLAIM: define({
    schema: z.string(),
    about: "Claim that names the workspace; looked up literally first, then as a dot path.",
    example: "workspace",
    standard: "workspace",
  }),
  SESSION_CHATS_CLAIM: define({
    schema: z.string(),
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
    schema: parsed(parseDuration, "a duration such as 30m, 8h or 30d"),
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
    schema: z.enum(["first-use", "claim", "workspace"], {
      error: "must be first-use, claim or workspace",
    }),
    about:
      "Whose chats a session may use besides those that it started and those that its token's chats claim lists: `first-use`, those that it was the first to use; `claim`, no others; `workspace`, all of its workspace.",
    example: "first-use",
    standard: "first-use",
  }),
  CHAT_OWNER_TTL: define({
    schema: parsed((text) => {
      const ms = parseDuration(text);
      return ms !== undefined && ms >= DAY_MS && ms <= 3_650 * DAY_MS ? ms : undefined;
    }, "a duration such as 30d, from 1d to 3650d"),
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
  LIMIT_AUTH_FAILURES: define({
    schema: quota,
    about: "Wrong credentials per client address; past it they are answered 429 instead of 401.",
    example: "30/1m",
    standard: "30/1m",
  }),
  REDIS_URL: define({
    schema: redisUrl,
    about:
      "Redis that holds limits and locks, shared by all instances: redis:// or rediss:// (TLS). Several nodes, comma-separated, are a Redis Cluster; redis+sentinel://host,host/name asks Sentinels. See docs/redis.md.",
    example: "redis://127.0.0.1:6379/0",
    standard: "unset: state in this process, with a warning; refused in production",
    secret: true,
  }),
  STATE: define({
    schema: z.enum(["redis", "memory", "durable-object"]),
    about:
      "Where the state lives. `memory` says that one instance alone is meant; `durable-object` is for Cloudflare Workers alone.",
    example: "redis",
    standard: "redis when REDIS_URL is set, else memory (on Workers durable-object)",
  }),
  REDIS_PREFIX: define({
    // Braces would move the hash tag, and with it the keys of one admission, to other slots.
    schema: z
      .string()
      .regex(/^[^{}\s]{1,64}$/, "must be 1 to 64 characters without braces or spaces"),
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
    example: "256",
    standard: "256; off where TRUST_PROXY is set",
  }),
  KEEP_ALIVE_TIMEOUT: define({
    schema: parsed((text) => {
      const ms = parseDuration(text);
      return ms !== undefined && ms >= 1_000 && ms <= DAY_MS ? ms : undefined;
    }, "a duration such as 75s, from 1s to 1d"),
    about:
      "How long an idle connection of a client is kept. Behind a load balancer: longer than it keeps its own.",
    example: "75s",
    standard: "75s",
  }),
  SHUTDOWN_GRACE: define({
    schema: timeout,
    about: "Longest drain after SIGTERM or SIGINT.",
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
  LOG_LEVEL: define({
    schema: z.enum(["debug", "info", "warn", "error", "fatal"]),
    about: "Least level that is logged: debug, info, warn, error or fatal.",
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
