/** Owns the syntax of `REDIS_URL`: one server, the nodes of a Cluster, or Sentinels that know a primary. */
import { z } from "zod";

export interface RedisNode {
  readonly host: string;
  readonly port: number;
}

export interface RedisCredentials {
  readonly username?: string;
  readonly password?: string;
}

interface Shared {
  /** TLS to every server named or discovered, Sentinels included. */
  readonly tls: boolean;
  /** For the servers that hold the data. */
  readonly credentials: RedisCredentials;
}

/** Where the state lives. */
export type RedisAddress =
  | (Shared & { readonly kind: "single"; readonly node: RedisNode; readonly database: number })
  | (Shared & { readonly kind: "cluster"; readonly nodes: readonly RedisNode[] })
  | (Shared & {
      readonly kind: "sentinel";
      readonly sentinels: readonly RedisNode[];
      readonly sentinelCredentials: RedisCredentials;
      /** The name under which the Sentinels watch the primary. */
      readonly primaryName: string;
      readonly database: number;
    });

const PORT = 6379;
const SENTINEL_PORT = 26_379;

/** Why a text is no address. Only fixed words: the text holds a password. */
class Refusal extends Error {}

const ENCODING = "special characters of a password must be percent-encoded, the comma too";

/** Text of `REDIS_URL` to an address; what is wrong is said without a word of the text. */
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
  const credentials = resolveCredentials(entries.map((entry) => entry.credentials));
  const listNodes = (port: number) =>
    entries.map(({ host, port: own }) => ({ host, port: own ?? port }));

  if (shape === "+sentinel") {
    const place = /^\/([A-Za-z0-9._-]+)(?:\/(\d{0,3}))?$/.exec(path);
    if (place === null) {
      throw new Refusal("must name the primary as its Sentinels do: redis+sentinel://host/name");
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
  // Options in the query would override the client's safety settings.
  if (query !== "") throw new Refusal("must have no query (only redis+sentinel:// has one)");
  const nodes = listNodes(PORT);
  const [node, second] = nodes;
  if (shape === "+cluster" || second !== undefined) {
    if (!/^\/?0?$/.test(path)) {
      throw new Refusal(
        "must name no database after several nodes: a Redis Cluster has only number 0",
      );
    }
    return { kind: "cluster", tls, credentials, nodes };
  }
  if (node === undefined || !/^(?:\/\d{0,3})?$/.test(path)) {
    throw new Refusal(`must have nothing but a database number as its path; ${ENCODING}`);
  }
  return { kind: "single", tls, credentials, node, database: Number(path.slice(1)) };
}

/** `redis://a,redis://b` says the same as `redis://a,b`. */
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
    // An IPv6 address has brackets in a URL and nowhere else.
    host: url.hostname.replace(/^\[(.*)\]$/, "$1"),
    port: url.port === "" ? undefined : Number(url.port),
    credentials: parseCredentials(decode(url.username), decode(url.password)),
  };
}

function parseCredentials(username: string, password: string): RedisCredentials {
  return { ...(username !== "" && { username }), ...(password !== "" && { password }) };
}

/** All nodes have the same, said with the first and, if one likes, with the others. */
function resolveCredentials([first = {}, ...others]: readonly RedisCredentials[]) {
  for (const { username, password } of others) {
    if (username === undefined && password === undefined) continue;
    if (username !== first.username || password !== first.password) {
      throw new Refusal(
        "must have the same user and password for all servers, with the first or with each",
      );
    }
  }
  return first;
}

function parseSentinelCredentials(query: string): RedisCredentials {
  // As in a URL's password a plus is a plus, not the space that it is in a form.
  const members = query.slice(1).split("&").filter(Boolean);
  const values = new Map<string, string>();
  for (const member of members) {
    const [name = "", value = ""] = member.split(/=(.*)/s);
    if (!/^sentinel(?:Username|Password)$/.test(name) || values.has(name)) {
      throw new Refusal(
        `must have nothing in its query but sentinelUsername and sentinelPassword; ${ENCODING}`,
      );
    }
    values.set(name, decode(value));
  }
  return parseCredentials(
    values.get("sentinelUsername") ?? "",
    values.get("sentinelPassword") ?? "",
  );
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new Refusal(`must be decodable; ${ENCODING}`);
  }
}
