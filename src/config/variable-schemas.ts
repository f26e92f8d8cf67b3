/**
 * Creates the schemas of the environment variables. Each schema parses the text of a variable to its
 * value, and carries a description of the accepted values for the documentation.
 */
import { base64url } from "jose";
import { z } from "zod";

import { NAMES_MAX, parseNames, parseVariableMapping, RESERVED_PREFIX } from "./name-lists.ts";
import { redisUrl } from "./redis-url.ts";
import { parseByteSize, parseDelay, parseDuration, parseQuota } from "./units.ts";
import {
  AGENT_ID_FORM,
  parseAgentId,
  WORKSPACE_ID_MAX,
  workspaceTable,
} from "./workspace-table.ts";

/** Which values a schema accepts: a text for the documentation, and sample values for the tests. */
export interface Expectation {
  /** Completes the sentence "The value must be …". */
  readonly text: string;
  /** The smallest and the largest accepted value, as an operator writes them. */
  readonly accepted: readonly string[];
  /** Values just outside those bounds. */
  readonly refused: readonly string[];
}

const expectations = new WeakMap<z.ZodType, Expectation>();

/** Finds the expectation of a schema of this file; undefined for any other schema. */
export function findExpectation(schema: z.ZodType): Expectation | undefined {
  return expectations.get(schema);
}

function expecting<Schema extends z.ZodType>(
  schema: Schema,
  text: string,
  edges: Partial<Omit<Expectation, "text">> = {},
): Schema {
  expectations.set(schema, { text, accepted: [], refused: [], ...edges });
  return schema;
}

/** Creates a schema from a parser of text. Where `parse` returns undefined, the value is refused. */
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

/** Kubernetes sets `ADMIN_PORT` in every pod to the address of a service named `admin`. */
function explainAddress(text: string): string {
  if (!/^(?:tcp|udp|sctp):\/\//.test(text)) return "";
  return ". Kubernetes set it to the address of a service whose name is the start of this variable's name: set enableServiceLinks: false in the pod's spec, or set the variable in the pod yourself";
}

/** A whole number from `min` to `max`. */
export function integer(min: number, max: number) {
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

/** Largest number of requests or connections at a time. */
export const COUNT_MAX = 1_000_000;

/** A number of connections, or `off`. */
export const countOrOff = parsed(
  (text): number | "off" | undefined => {
    if (text === "off") return text;
    if (!/^\d{1,7}$/.test(text)) return undefined;
    const value = Number(text);
    return value >= 1 && value <= COUNT_MAX ? value : undefined;
  },
  `a whole number from 1 to ${COUNT_MAX}, or off`,
  { accepted: ["1", String(COUNT_MAX), "off"], refused: ["0", String(COUNT_MAX + 1)] },
);

/**
 * A duration, parsed to milliseconds.
 *
 * @param least smallest duration, as an operator writes it; `0s` also allows zero
 * @param most largest duration, as an operator writes it
 * @param examples sample values for the documentation
 */
export function duration(least: string, most: string, examples: string) {
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

/** A time limit. JavaScript timers hold at most 2^31 - 1 ms (24.8 days); longer ones fire at once. */
export const timeout = duration("1ms", "24d", "500ms, 60s or 5m");

/** A size from 1 byte to `most`, parsed to bytes. */
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

/** A size of a body. A body becomes one string, and a string holds at most 512 Mi characters. */
export const byteSize = byteSizeUpTo("256MiB");

/** A rate limit, or `off`. */
export const quota = parsed(
  parseQuota,
  "a quota such as 20/1m or 20/1m;burst=5, or off (1 to 9999999 requests and burst, in 1 to 99999 s, m, h or d; at most 1000000 a second; a whole burst must refill within 3650d)",
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

export const flag = parsed(
  (text) => (text === "true" ? true : text === "false" ? false : undefined),
  "true or false",
  { accepted: ["true", "false"] },
);

/** A flag in upper or lower case: the OpenTelemetry specification asks for both. */
export const openTelemetryFlag = parsed(
  (text) => (/^true$/i.test(text) ? true : /^false$/i.test(text) ? false : undefined),
  "true or false",
  { accepted: ["true", "false"] },
);

/** One of the given words. */
export function oneOf<const Word extends string>(...words: readonly Word[]) {
  const expected = `${words.slice(0, -1).join(", ")} or ${words.at(-1)}`;
  return parsed((text) => words.find((word) => word === text), expected, { accepted: words });
}

/** One line of text with 1 to `max` characters. */
export function line(max: number) {
  return parsed(
    (text) => (text.length <= max && !/\p{Cc}/u.test(text) ? text : undefined),
    `text of 1 to ${max} characters in one line`,
    { accepted: ["x", "x".repeat(max)], refused: ["x".repeat(max + 1), "two\nlines"] },
  );
}

/** The address to listen on. The brackets that a URL has around an IPv6 address are removed. */
export const host = parsed((text) => {
  const address = /^\[(.*)\]$/.exec(text)?.[1] ?? text;
  if (!address.includes(":")) {
    return text === address && /^[A-Za-z0-9._-]{1,253}$/.test(text) ? text : undefined;
  }
  const [ip = "", zone, ...rest] = address.split("%");
  const url = `http://[${ip}]/`;
  if (!URL.canParse(url) || rest.length > 0) return undefined;
  const canonical = new URL(url).hostname.slice(1, -1);
  if (zone === undefined) return canonical;
  // A URL writes the percent sign before an IPv6 zone as %25 (RFC 6874).
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

/** The origin of a server, such as `https://api.example`. */
export const origin = parsed((text) => {
  const url = parseServiceUrl(text);
  return url !== undefined && url.pathname === "/" && url.search === "" ? url.origin : undefined;
}, "an https origin without a path (http only on loopback)");

/** The URL of a resource on a server. */
export const serviceUrl = parsed(
  (text) => parseServiceUrl(text)?.href,
  "an https URL without credentials (http only on loopback)",
);

/** The URL of a trace collector. Plain http is allowed: the service sends it no secret. */
export const collectorUrl = parsed((text) => {
  if (!/^https?:\/\//.test(text) || !URL.canParse(text)) return undefined;
  const { username, password, search, hash, href } = new URL(text);
  return [username, password, search, hash].every((part) => part === "") ? href : undefined;
}, "an http or https URL without credentials or query");

/** API tokens in the syntax `b64token` of RFC 6750 section 2.1; a header can carry no other. */
export const apiTokens = parsed((text) => {
  const tokens = text.split(",").map((token) => token.trim());
  return tokens.every((token) => /^[A-Za-z0-9._~+/-]+=*$/.test(token)) ? tokens : undefined;
}, "one API token, or several separated by commas");

/** Length of a cookie key in bytes; its base64url text has 43 characters. */
export const COOKIE_KEY_BYTES = 32;

/** Keys that encrypt session cookies. */
export const cookieKeys = parsed((text) => {
  const keys = text.split(",").map((key) => key.trim());
  if (!keys.every((key) => /^[A-Za-z0-9_-]{43}=?$/.test(key))) return undefined;
  const decoded = keys.map((key) => base64url.decode(key.replace("=", "")));
  return decoded.every((key) => key.byteLength === COOKIE_KEY_BYTES) ? decoded : undefined;
}, `one or more keys of ${COOKIE_KEY_BYTES} bytes in base64url, separated by commas`);

/** Origins of pages, as browsers write them in the `Origin` header. */
export const origins = parsed((text) => {
  const list = text.split(",").map((entry) => entry.trim());
  return list.every(isOrigin) ? new Set(list) : undefined;
}, "exact origins separated by commas, such as https://www.example.com: scheme and host, no path, no wildcard (http only on localhost)");

/** Names of variables or metadata members. */
export const names = parsed(
  parseNames,
  `names separated by commas, at most ${NAMES_MAX}: letters, digits, underscores, dots and hyphens, 64 characters each, none that starts with ${RESERVED_PREFIX}`,
);

/** Dynamic variables and the claims that set them. */
export const variableMapping = parsed(
  parseVariableMapping,
  `pairs such as plan=plan,customer_name=profile.name, at most ${NAMES_MAX}, each variable once; names of variables as in CHAT_VARIABLES`,
);

/** Whether a browser can send this text as `Origin`; app schemes such as capacitor:// count too. */
function isOrigin(text: string): boolean {
  if (!/^[a-z][a-z0-9+.-]*:\/\/[^\s/?#*@]+$/.test(text) || !URL.canParse(text)) return false;
  const { protocol, hostname, origin } = new URL(text);
  if (protocol === "https:") return origin === text;
  if (protocol !== "http:") return true;
  return origin === text && (LOOPBACK_HOSTS.has(hostname) || hostname.endsWith(".localhost"));
}

/** HS256 needs a key of at least 256 bits (RFC 7518 section 3.2). */
const SESSION_SECRET_BYTES_MIN = 32;
const encoder = new TextEncoder();

/** The secret that signs session tokens. */
export const sessionSecret = parsed(
  (text) => (encoder.encode(text).byteLength >= SESSION_SECRET_BYTES_MIN ? text : undefined),
  `at least ${SESSION_SECRET_BYTES_MIN} bytes`,
  {
    accepted: ["x".repeat(SESSION_SECRET_BYTES_MIN)],
    refused: ["x".repeat(SESSION_SECRET_BYTES_MIN - 1)],
  },
);

/** A public key, which the platform's cryptography reads later. */
export const publicKey = expecting(z.string(), "a public key as PEM (SPKI), JWK or JWKS");

export const agentId = parsed(parseAgentId, AGENT_ID_FORM, {
  accepted: ["x", "x".repeat(200)],
  refused: ["x".repeat(201)],
});

/** The JSON of `WORKSPACES`. */
export const workspaces = expecting(
  workspaceTable,
  `a JSON object; ids from 1 to ${WORKSPACE_ID_MAX}, agent ids as UPONAI_AGENT_ID, limits as LIMIT_SESSION`,
  {
    accepted: ['{"acme":1}', `{"acme":${WORKSPACE_ID_MAX}}`],
    refused: ['{"acme":0}', '{"acme":9007199254740992}', "{}"],
  },
);

/** The address of Redis. */
export const redisAddress = expecting(
  redisUrl,
  "a redis://, rediss://, redis+sentinel:// or redis+cluster:// URL; a database from 0 to 999",
  {
    accepted: ["redis://redis.example/0", "redis://redis.example/999"],
    refused: ["redis://redis.example/1000"],
  },
);

/** A path without a slash at its end. Its segments need no encoding, and none is `.` or `..`. */
export const basePath = parsed(
  (text) =>
    /^(?:\/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+$/.test(text) && text.length <= 128 ? text : undefined,
  "a path such as /api/chat: it begins with a slash, does not end with one, and has up to 128 letters, digits and -._~",
  { accepted: ["/a", `/${"x".repeat(127)}`], refused: ["/", "/a/", `/${"x".repeat(128)}`] },
);

/** The prefix of Redis keys. */
export const redisPrefix = parsed(
  // A brace would change the hash tag of the keys, so that one admission's keys get different slots.
  (text) => (/^[^{}\s\p{C}]{1,64}$/u.test(text) ? text : undefined),
  "1 to 64 characters without braces, spaces or control characters",
  { accepted: ["x", "x".repeat(64)], refused: ["x".repeat(65)] },
);
