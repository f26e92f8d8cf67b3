/**
 * Defines the environment variables: the accepted values, the default and the documentation of each.
 * `config.ts` reads its defaults here, and the README's table and `.env.example` are generated here.
 */
import type { z } from "zod";

import {
  agentId,
  apiTokens,
  basePath,
  byteSize,
  collectorUrl,
  cookieKeys,
  COUNT_MAX,
  countOrOff,
  duration,
  type Expectation,
  findExpectation,
  flag,
  host,
  integer,
  line,
  names,
  oneOf,
  openTelemetryFlag,
  origin,
  origins,
  publicKey,
  quota,
  redisAddress,
  redisPrefix,
  serviceUrl,
  sessionSecret,
  timeout,
  variableMapping,
  workspaces,
} from "./variable-schemas.ts";

interface Documented {
  readonly schema: z.ZodType;
  /** Meaning of the variable, in one or two sentences. */
  readonly about: string;
  /** A valid value, shown beside every error. For a secret: how to create one. */
  readonly example: string;
  /** Whether errors hide the value, and `NAME_FILE` can hold the path of a file with it. */
  readonly secret?: true;
}

/** A variable that always has a value. */
interface WithDefault extends Documented {
  /** The default as an operator writes it. `schema` parses it where the variable is unset. */
  readonly defaultText: string;
}

/** A variable that is required, or whose absence has a meaning of its own. */
interface WithoutDefault extends Documented {
  /** What applies where the variable is unset; only for the documentation. */
  readonly whenUnset: string;
}

/**
 * Default of `MAX_CONNECTIONS_PER_ADDRESS` where `TRUST_PROXY` is 0, so that one address cannot use
 * all connections.
 */
export const DIRECT_CONNECTIONS_PER_ADDRESS_MAX = 2_500;

export const variables = {
  PORT: {
    schema: integer(0, 65_535),
    about: "Port of the public listener. 0 picks a free port.",
    example: "8787",
    defaultText: "8787",
  },
  HOST: {
    schema: host,
    about: "Address of the public listener.",
    example: "0.0.0.0",
    defaultText: "0.0.0.0",
  },
  BASE_PATH: {
    schema: basePath,
    about:
      "Path below which browsers see the service. All its routes are below it, on the public listener.",
    example: "/api/chat",
    whenUnset: "none: the routes are at the root",
  },
  BASE_PATH_STRIPPED: {
    schema: flag,
    about:
      "The proxy removes `BASE_PATH` before it passes a request on, so that the service gets its routes at the root.",
    example: "true",
    defaultText: "false",
  },
  ADMIN_PORT: {
    schema: integer(0, 65_535),
    about:
      "Port of a second listener for operators, with `/metrics`, `/healthz` and `/readyz`. 0 picks a free port.",
    example: "9464",
    whenUnset: "none: no metrics",
  },
  ADMIN_HOST: {
    schema: host,
    about: "Address of the listener for operators.",
    example: "127.0.0.1",
    defaultText: "127.0.0.1",
  },
  UPONAI_BASE_URL: {
    schema: origin,
    about: "Origin of the UponAI API. It must be https, except on loopback.",
    example: "https://api.upon-ai.com",
    defaultText: "https://api.upon-ai.com",
  },
  UPONAI_API_TOKEN: {
    schema: apiTokens,
    about:
      "API token for UponAI. To rotate it, list several, separated by commas: after a 401 from UponAI the service tries the next token once and keeps using it.",
    example: "a token from your profile settings at app.uponai.com",
    whenUnset: "required unless every workspace has its own",
    secret: true,
  },
  UPONAI_WORKSPACE_ID: {
    schema: integer(1, 999_999_999_999_999),
    about: "Id of the UponAI workspace that all sessions use.",
    example: "42",
    whenUnset: "this or WORKSPACES is required",
  },
  WORKSPACES: {
    schema: workspaces,
    about:
      "Several workspaces, as a JSON object. Each key is a value of the session's workspace claim; each value is a workspace id or `{id, agentId?, apiToken?, limits?: {session?, sessionDaily?, workspace?, replays?}}`.",
    example: '{"acme":42,"globex":{"id":43,"limits":{"session":"5/1m"}}}',
    whenUnset: "this or UPONAI_WORKSPACE_ID is required",
    secret: true,
  },
  UPONAI_AGENT_ID: {
    schema: agentId,
    about: "Agent of the chats that `POST /chat` starts. A workspace can name its own.",
    example: "agent_0123456789",
    whenUnset: "none: no chats are started",
  },
  SESSION_SECRET: {
    schema: sessionSecret,
    about: "Secret that the issuer signs session tokens with (HS256).",
    example: "the output of: openssl rand -base64 48",
    whenUnset: "exactly one of the three SESSION_ keys is required",
    secret: true,
  },
  SESSION_PUBLIC_KEY: {
    schema: publicKey,
    about: "Public key of the issuer of session tokens: PEM (SPKI), or JWK or JWKS as JSON.",
    example: "-----BEGIN PUBLIC KEY----- … (PEM), or a JWK or JWKS as JSON",
    whenUnset: "see SESSION_SECRET",
    secret: true,
  },
  SESSION_JWKS_URL: {
    schema: serviceUrl,
    about: "URL of the issuer's public keys (JWKS). It must be https, except on loopback.",
    example: "https://issuer.example/.well-known/jwks.json",
    whenUnset: "see SESSION_SECRET",
  },
  SESSION_ISSUER: {
    schema: line(1_000),
    about: "Required value of `iss` in session tokens.",
    example: "https://issuer.example/",
    whenUnset: "required",
  },
  SESSION_AUDIENCE: {
    schema: line(1_000),
    about: "Required value of `aud` in session tokens.",
    example: "uponai-bff",
    whenUnset: "required",
  },
  SESSION_WORKSPACE_CLAIM: {
    schema: line(200),
    about:
      "Claim that names the workspace of a session. The service first looks for a claim with exactly this name, then reads the name as a dot path.",
    example: "workspace",
    defaultText: "workspace",
  },
  SESSION_CHATS_CLAIM: {
    schema: line(200),
    about:
      "Claim that lists the only chats a session can use. The service finds it in the same way as SESSION_WORKSPACE_CLAIM.",
    example: "chats",
    defaultText: "chats",
  },
  SESSION_VARIABLES: {
    schema: variableMapping,
    about:
      "Dynamic variables that `POST /chat` sets from claims of the session, as `variable=claim`, separated by commas. The service never uses a client's value for them.",
    example: "plan=plan,customer_name=profile.name",
    whenUnset: "none: the session sets no variables",
  },
  COOKIE_KEYS: {
    schema: cookieKeys,
    about:
      "Keys that encrypt session cookies, separated by commas. The first key encrypts, all keys decrypt, so that keys can be rotated.",
    example: "the output of: npx uponai-bff keys cookie",
    whenUnset: "none: no cookie sessions",
    secret: true,
  },
  COOKIE_MAX_AGE: {
    // Browsers keep no cookie for longer than 400 days (RFC 6265bis section 5.5).
    schema: duration("1s", "400d", "30m, 8h or 30d"),
    about:
      "Longest lifetime of a session cookie. A cookie also ends when its session token expires.",
    example: "8h",
    defaultText: "8h",
  },
  COOKIE_INSECURE: {
    schema: flag,
    about:
      "Sends cookies without `Secure` and without the `__Host-` prefix, for development over plain http on localhost. Refused in production.",
    example: "true",
    defaultText: "false",
  },
  ALLOWED_ORIGINS: {
    schema: origins,
    about:
      "Other origins whose pages can send requests with credentials and read the answers, separated by commas. The service's own origin is always allowed.",
    example: "https://www.example.com,https://shop.example.com",
    whenUnset: "none: same origin only",
  },
  TRUST_PROXY: {
    schema: integer(0, 20),
    about:
      "Number of proxies in front of the service. The client's address is the entry at this position from the right in `X-Forwarded-For`.",
    example: "1",
    defaultText: "0",
  },
  CHAT_ACCESS: {
    schema: oneOf("first-use", "claim", "workspace"),
    about:
      "Chats that a session without a chats claim can use, besides those it started. `first-use`: chats that it is the first to use; `claim`: no others; `workspace`: all chats of its workspace. A session with the claim can use those that the claim lists.",
    example: "first-use",
    defaultText: "first-use",
  },
  CHAT_OWNER_TTL: {
    schema: duration("1d", "3650d", "30d"),
    about: "How long a chat keeps its owner after the last use.",
    example: "30d",
    defaultText: "30d",
  },
  CHAT_VARIABLES: {
    schema: names,
    about:
      "Names of the dynamic variables that a client can set in `POST /chat`, separated by commas. Requests with other names are refused.",
    example: "language,page",
    whenUnset: "none: a client can set no variables",
  },
  CHAT_METADATA: {
    schema: names,
    about:
      "Names of the metadata members that a client can set in `POST /chat`, separated by commas. Requests with other names are refused.",
    example: "page,campaign",
    whenUnset: "none: a client can set no metadata",
  },
  LIMIT_SESSION: {
    schema: quota,
    about:
      "Requests to the chat routes (start, send, read, end) per user (session subject and workspace).",
    example: "20/1m;burst=5",
    defaultText: "20/1m",
  },
  LIMIT_SESSION_DAILY: {
    schema: quota,
    about: "Second limit on the same requests per user, for a longer time such as a day.",
    example: "500/1d",
    defaultText: "off",
  },
  LIMIT_WORKSPACE: {
    schema: quota,
    about: "Requests to the chat routes per workspace.",
    example: "600/1m",
    defaultText: "600/1m",
  },
  LIMIT_IP: {
    schema: quota,
    about:
      "Requests to the chat routes per client address and workspace. IPv6 addresses count by /64 network.",
    example: "120/1m",
    defaultText: "120/1m",
  },
  LIMIT_REPLAYS: {
    schema: quota,
    about:
      "Stored answers that a user (session subject and workspace) can fetch again. A second, fixed limit is 16 MiB per minute; `off` turns off both.",
    example: "60/1m",
    defaultText: "60/1m",
  },
  LIMIT_AUTH_FAILURES: {
    schema: quota,
    about:
      "Requests with wrong credentials per client address. Further ones get 429 instead of 401.",
    example: "30/1m",
    defaultText: "30/1m",
  },
  STORED_ANSWER_BYTES: {
    schema: byteSize,
    about:
      "Largest answer that is stored for its `Idempotency-Key`. For a larger one, a repeated request reads the answer from the chat's transcript.",
    example: "64KiB",
    defaultText: "64KiB",
  },
  STORED_BYTES_SUBJECT: {
    schema: byteSize,
    about:
      "Bytes of answers stored in 24 hours per user (session subject and workspace). Half of them can be stored at once.",
    example: "4MiB",
    defaultText: "4MiB",
  },
  STORED_BYTES_WORKSPACE: {
    schema: byteSize,
    about:
      "Bytes of answers stored in 24 hours per workspace. Half of them can be stored at once. The memory of Redis must hold this for all workspaces together.",
    example: "32MiB",
    defaultText: "32MiB",
  },
  REDIS_URL: {
    schema: redisAddress,
    about:
      "Redis that stores limits and locks for all instances: `redis://`, or `rediss://` with TLS. Several servers separated by commas are a Redis Cluster; `redis+sentinel://host,host/name` finds the primary through Sentinels. See docs/redis.md.",
    example: "redis://127.0.0.1:6379/0",
    whenUnset: "unset: state in this process, with a warning; refused in production",
    secret: true,
  },
  STATE: {
    schema: oneOf("redis", "memory", "durable-object"),
    about:
      "Where limits and locks are stored. `memory` is for a single instance; `durable-object` is for Cloudflare Workers only.",
    example: "redis",
    whenUnset: "redis when REDIS_URL is set, else memory (on Workers durable-object)",
  },
  REDIS_PREFIX: {
    schema: redisPrefix,
    about: "Prefix of every Redis key.",
    example: "bff:",
    defaultText: "bff:",
  },
  REDIS_TIMEOUT: {
    schema: timeout,
    about: "Longest time that a request waits for the state (Redis or Durable Objects).",
    example: "500ms",
    defaultText: "500ms",
  },
  UPSTREAM_TIMEOUT: {
    schema: timeout,
    about: "Longest time to wait for a complete answer from UponAI.",
    example: "60s",
    defaultText: "60s",
  },
  UPSTREAM_CONNECT_TIMEOUT: {
    schema: timeout,
    about: "Longest time to wait for a connection to UponAI.",
    example: "5s",
    defaultText: "5s",
  },
  RECOVERY_WINDOW: {
    schema: timeout,
    about:
      "Longest time to search the chat's transcript for a lost answer. The client waits meanwhile.",
    example: "20s",
    defaultText: "20s",
  },
  MAX_IN_FLIGHT: {
    schema: integer(1, COUNT_MAX),
    about:
      "Number of requests that the service works on at a time. It answers further ones with 503.",
    example: "2000",
    defaultText: "2000",
  },
  MAX_BODY_BYTES: {
    schema: byteSize,
    about: "Largest request body. The service counts its bytes while it reads them.",
    example: "32KiB",
    defaultText: "32KiB",
  },
  MAX_CONTENT_CHARS: {
    schema: integer(1, 1_000_000),
    about: "Longest message, in Unicode code points.",
    example: "8000",
    defaultText: "8000",
  },
  MAX_UPSTREAM_BYTES: {
    schema: byteSize,
    about: "Largest answer from UponAI, after decompression.",
    example: "1MiB",
    defaultText: "1MiB",
  },
  MAX_CONNECTIONS: {
    schema: integer(1, COUNT_MAX),
    about: "Number of open connections per listener. Further ones are closed immediately.",
    example: "10000",
    defaultText: "10000",
  },
  MAX_CONNECTIONS_PER_ADDRESS: {
    schema: countOrOff,
    about:
      "Number of open connections per listener from one address (IPv6 by /64 network), or `off`. It counts by the address of the socket, which behind a proxy is the proxy's.",
    example: "2500",
    whenUnset: `${DIRECT_CONNECTIONS_PER_ADDRESS_MAX}; off where TRUST_PROXY is set`,
  },
  KEEP_ALIVE_TIMEOUT: {
    schema: duration("1s", "1d", "75s"),
    about:
      "How long an idle client connection stays open. Behind a load balancer, set it longer than the load balancer's own idle time.",
    example: "75s",
    defaultText: "75s",
  },
  SHUTDOWN_DELAY: {
    schema: duration("0s", "10m", "5s"),
    about:
      "How long the service still accepts requests after SIGTERM or SIGINT, while `/readyz` answers 503 so that load balancers stop sending. Use 5s on Kubernetes.",
    example: "5s",
    defaultText: "0s",
  },
  SHUTDOWN_GRACE: {
    schema: timeout,
    about: "Longest time to finish open requests after SIGTERM or SIGINT and `SHUTDOWN_DELAY`.",
    example: "65s",
    defaultText: "65s",
  },
  EXPOSE_TOOL_CALLS: {
    schema: flag,
    about: "Includes the agent's tool calls in answers. They can contain internal data.",
    example: "false",
    defaultText: "false",
  },
  OTEL_EXPORTER_OTLP_ENDPOINT: {
    schema: collectorUrl,
    about:
      "Base URL of an OpenTelemetry collector that receives traces (OTLP over HTTP). It needs the packages that docs/operations.md lists.",
    example: "http://127.0.0.1:4318",
    whenUnset: "none: no traces",
  },
  OTEL_SERVICE_NAME: {
    schema: line(200),
    about: "Name of this service in traces.",
    example: "chat-backend",
    defaultText: "uponai-bff",
  },
  OTEL_SDK_DISABLED: {
    schema: openTelemetryFlag,
    about: "Turns traces off, also where `OTEL_EXPORTER_OTLP_ENDPOINT` is set.",
    example: "true",
    defaultText: "false",
  },
  LOG_LEVEL: {
    schema: oneOf("debug", "info", "warn", "error", "fatal"),
    about: "Lowest level of the lines that are logged.",
    example: "info",
    defaultText: "info",
  },
  LOG_PRETTY: {
    schema: flag,
    about:
      "Formats log lines for people. It applies only on a terminal, and is refused in production.",
    example: "true",
    defaultText: "false",
  },
} as const satisfies Readonly<Record<string, WithDefault | WithoutDefault>>;

type Variables = typeof variables;
export type VariableName = keyof Variables;

/** The parsed values. Only a variable without a default can be undefined. */
export type VariableValues = {
  readonly [Name in VariableName]:
    z.output<Variables[Name]["schema"]> | (Variables[Name] extends WithDefault ? never : undefined);
};

export const variableNames: readonly VariableName[] = Object.keys(variables).filter(isVariableName);

export function isVariableName(name: string): name is VariableName {
  return Object.hasOwn(variables, name);
}

/** Describes the accepted values of a variable, for the documentation and the tests. */
export function describeExpectation(name: VariableName): Expectation | undefined {
  return findExpectation(variables[name].schema);
}

/** Describes what applies where the variable is unset, for the documentation. */
export function describeDefault(name: VariableName): string {
  const variable = variables[name];
  return "defaultText" in variable ? variable.defaultText : variable.whenUnset;
}

export interface ParsedVariable<Name extends VariableName> {
  /** The default where the text was refused. */
  readonly value: VariableValues[Name];
  /** Why the text was refused, each to be read after the variable's name; empty where it was not. */
  readonly problems: readonly string[];
}

/**
 * Parses the text of a variable.
 *
 * @param text undefined or empty where the variable is unset, which gives its default
 */
export function parseVariable<Name extends VariableName>(
  name: Name,
  text: string | undefined,
): ParsedVariable<Name> {
  const { schema } = variables[name];
  const result = text === undefined || text === "" ? undefined : schema.safeParse(text);
  const value: unknown = result?.data ?? parseDefault(variables[name]);
  return {
    // Either the schema of `name` made it, or the variable has no default.
    value: value as VariableValues[Name], // oxlint-disable-line typescript/no-unsafe-type-assertion
    problems: result?.error?.issues.map(({ message }) => message) ?? [],
  };
}

function parseDefault(variable: WithDefault | WithoutDefault): unknown {
  return "defaultText" in variable ? variable.schema.parse(variable.defaultText) : undefined;
}
