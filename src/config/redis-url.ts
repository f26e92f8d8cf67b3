/** Parses `REDIS_URL`: a single server, the nodes of a Cluster, or Sentinels that watch a primary. */
import { z } from "zod";

export interface RedisNode {
  readonly host: string;
  readonly port: number;
}

export interface RedisCredentials {
  readonly username?: string;
  readonly password?: string;
}

export interface Shared {
  /** Whether connections to all servers use TLS: named, discovered and Sentinels. */
  readonly tls: boolean;
  /** User and password of the servers that store the data, not of the Sentinels. */
  readonly credentials: RedisCredentials;
}

/** The Redis that stores the state. */
export type RedisAddress =
  | (Shared & { readonly kind: "single"; readonly node: RedisNode; readonly database: number })
  | (Shared & { readonly kind: "cluster"; readonly nodes: readonly RedisNode[] })
  | (Shared & {
      readonly kind: "sentinel";
      readonly sentinels: readonly RedisNode[];
      readonly sentinelCredentials: RedisCredentials;
      /** Name of the primary in the Sentinels' configuration. */
      readonly primaryName: string;
      readonly database: number;
    });

const PORT = 6379;
const SENTINEL_PORT = 26_379;

/** Why the text is not an address. The message is fixed: the text contains a password. */
class Refusal extends Error {}

const ENCODING = "special characters in a password must be percent-encoded, including the comma";

/** Parses the text of `REDIS_URL`. Error messages repeat none of the text: it contains a password. */
export const redisUrl = z.string().transform((text, context): RedisAddress => {
  try {
    return parseAddress(text);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    context.addIssue({ code: "custom", message: error.message });
    return z.NEVER;
  }
});

function parseAddress(text: string): RedisAddress {
  const parts =
    /^(redis|rediss)(\+sentinel|\+cluster|):\/\/([^/?#\s]*)((?:\/[^?#\s]*)?)((?:\?[^#\s]*)?)$/.exec(
      withoutRepeatedScheme(text),
    );
  if (parts === null) {
    throw new Refusal(
      `must be a redis://, rediss:// (TLS), redis+sentinel:// or redis+cluster:// URL without a fragment; ${ENCODING}`,
    );
  }
  const [, scheme, shape, authority = "", path = "", query = ""] = parts;
  if (path.startsWith("//")) throw new Refusal("must have one scheme for all servers");
  const entries = authority.split(",").map(parseEntry);
  const tls = scheme === "rediss";
  const credentials = mergeCredentials(entries.map((entry) => entry.credentials));
  const listNodes = (port: number) =>
    entries.map(({ host, port: own }) => ({ host, port: own ?? port }));

  if (shape === "+sentinel") {
    const place = /^\/([A-Za-z0-9._-]+)(?:\/(\d{0,3}))?$/.exec(path);
    if (place === null) {
      throw new Refusal(
        "must name the primary as the Sentinels' configuration does: redis+sentinel://host/name",
      );
    }
    const [, primaryName = "", database = ""] = place;
    const sentinelCredentials = parseSentinelCredentials(query);
    return {
      kind: "sentinel",
      tls,
      credentials,
      sentinels: listNodes(SENTINEL_PORT),
      sentinelCredentials,
      primaryName,
      database: Number(database),
    };
  }
  // The Redis client reads options from the query; they could override its safety settings.
  if (query !== "") throw new Refusal("must have no query; only a redis+sentinel:// URL has one");
  const nodes = listNodes(PORT);
  const [node, second] = nodes;
  if (shape === "+cluster" || second !== undefined) {
    if (!/^\/?0?$/.test(path)) {
      throw new Refusal(
        "must have no database after several nodes: a Redis Cluster has only number 0",
      );
    }
    return { kind: "cluster", tls, credentials, nodes };
  }
  if (node === undefined || !/^(?:\/\d{0,3})?$/.test(path)) {
    throw new Refusal(`must have no path except a database number; ${ENCODING}`);
  }
  return { kind: "single", tls, credentials, node, database: Number(path.slice(1)) };
}

/** Accepts `redis://a,redis://b` as another form of `redis://a,b`. */
function withoutRepeatedScheme(text: string): string {
  const scheme = /^[a-z+]+:\/\//.exec(text)?.[0];
  return scheme === undefined ? text : text.replaceAll(`,${scheme}`, ",");
}

interface Entry {
  readonly host: string;
  readonly port: number | undefined;
  readonly credentials: RedisCredentials;
}

function parseEntry(text: string): Entry {
  const url = URL.canParse(`redis://${text}`) ? new URL(`redis://${text}`) : undefined;
  if (url === undefined || url.hostname === "") {
    throw new Refusal(`must be host or host:port for every server; ${ENCODING}`);
  }
  return {
    // Only in a URL does an IPv6 address have brackets.
    host: url.hostname.replace(/^\[(.*)\]$/, "$1"),
    port: url.port === "" ? undefined : Number(url.port),
    credentials: createCredentials(decode(url.username), decode(url.password)),
  };
}

function createCredentials(username: string, password: string): RedisCredentials {
  return { ...(username !== "" && { username }), ...(password !== "" && { password }) };
}

/** Returns the credentials of the first server; the others must have the same or none. */
function mergeCredentials([first = {}, ...others]: readonly RedisCredentials[]) {
  for (const { username, password } of others) {
    if (username === undefined && password === undefined) continue;
    if (username !== first.username || password !== first.password) {
      throw new Refusal(
        "must have the same user and password for all servers: write them at the first one, or at each",
      );
    }
  }
  return first;
}

function parseSentinelCredentials(query: string): RedisCredentials {
  // Not URLSearchParams: it would decode a plus sign in a password to a space.
  const members = query.slice(1).split("&").filter(Boolean);
  const values = new Map<string, string>();
  for (const member of members) {
    const [name = "", value = ""] = member.split(/=(.*)/s);
    if (!/^sentinel(?:Username|Password)$/.test(name) || values.has(name)) {
      throw new Refusal(
        `must have only sentinelUsername and sentinelPassword in its query; ${ENCODING}`,
      );
    }
    values.set(name, decode(value));
  }
  return createCredentials(
    values.get("sentinelUsername") ?? "",
    values.get("sentinelPassword") ?? "",
  );
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new Refusal(`must have valid percent-encoding; ${ENCODING}`);
  }
}
