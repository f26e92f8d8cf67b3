/**
 * Connections to UponAI and to the issuer of session keys: directly, or through the proxy that
 * `HTTPS_PROXY` or `HTTP_PROXY` names, unless `NO_PROXY` excepts the host. The health check does not
 * come through here.
 */
import type { Socket } from "node:net";

import {
  buildConnector,
  type Dispatcher,
  EnvHttpProxyAgent,
  fetch as undiciFetch,
  Pool,
} from "undici";

import type { ConfigProblem, Environment } from "../../config/config.ts";
import type { FetchKeys } from "../../session/remote-keys.ts";
import { connectTcp, ConnectTimeout } from "./connect-tcp.ts";

/** The proxies of the environment, by the scheme of what is fetched through them. */
export interface ProxySettings {
  readonly https: string | undefined;
  readonly http: string | undefined;
  /** Hosts that are reached directly, as `NO_PROXY` lists them. */
  readonly except: string;
}

export const NO_PROXIES: ProxySettings = { https: undefined, http: undefined, except: "" };

/**
 * Reads the variables that every HTTP client knows; the name in small letters wins, as with curl. A
 * proxy's URL may hold a password and is never part of a problem.
 */
export function readProxies(environment: Environment): {
  readonly proxies: ProxySettings;
  readonly problems: readonly ConfigProblem[];
} {
  const read = (name: string): string | undefined => {
    const value = environment[name.toLowerCase()] ?? environment[name];
    return value === "" ? undefined : value;
  };
  const proxies = {
    https: read("HTTPS_PROXY"),
    http: read("HTTP_PROXY"),
    except: read("NO_PROXY") ?? "",
  };
  const problems: ConfigProblem[] = [];
  for (const [variable, proxy] of [
    ["HTTPS_PROXY", proxies.https],
    ["HTTP_PROXY", proxies.http],
  ] as const) {
    if (proxy === undefined || isProxyUrl(proxy)) continue;
    const problem = "must be the http or https URL of a proxy";
    problems.push({ variable, problem, example: "http://proxy.internal:3128" });
  }
  return { proxies, problems };
}

function isProxyUrl(text: string): boolean {
  const url = URL.parse(text);
  return url !== null && /^https?:$/.test(url.protocol);
}

export interface EgressOptions {
  readonly connectTimeoutMs: number;
  readonly proxies: ProxySettings;
}

/** How long a connection is silent before TCP asks whether the other side is there: undici's own. */
const TCP_KEEP_ALIVE_MS = 60_000;

/** Connections to one origin, made as needed and kept for a while. */
export function createDispatcher(
  origin: string,
  { connectTimeoutMs, proxies }: EgressOptions,
): Dispatcher {
  const connect = createConnector(connectTimeoutMs);
  const options = {
    connect,
    // One deadline of our own covers the whole exchange.
    headersTimeout: 0,
    bodyTimeout: 0,
    pipelining: 1,
    allowH2: false,
    // Idle sockets go before any common server drops its own (the shortest is 2 s, gunicorn's), so
    // that no message is written to one that is closing: it could not be told whether it arrived.
    // A server that names its time (`Keep-Alive: timeout=`) is left two seconds before that.
    keepAliveTimeout: 1_000,
    keepAliveMaxTimeout: 60_000,
  };
  const proxy = origin.startsWith("https:") ? proxies.https : proxies.http;
  if (proxy === undefined) return new Pool(origin, options);
  return new EnvHttpProxyAgent({
    ...options,
    httpProxy: proxy,
    httpsProxy: proxy,
    noProxy: proxies.except,
    // Through a tunnel alone it can be told that a request has not left: a proxy that was handed the
    // request itself may have passed it on before it answers 502.
    proxyTunnel: true,
    // A proxy that takes the connection and then is silent has the time of a connection as well.
    clientFactory: (url) =>
      new Pool(url, { connect, headersTimeout: connectTimeoutMs, allowH2: false }),
    requestTls: { allowH2: false, timeout: connectTimeoutMs },
  });
}

export interface NodeFetch {
  readonly fetch: (...args: Parameters<FetchKeys>) => ReturnType<typeof undiciFetch>;
  readonly close: () => Promise<void>;
}

/** `fetch` for one origin, by the same connections as UponAI's. */
export function createNodeFetch(url: string, options: EgressOptions): NodeFetch {
  const dispatcher = createDispatcher(new URL(url).origin, options);
  return {
    fetch: (target, init) => undiciFetch(target, { ...init, dispatcher }),
    close: () => dispatcher.destroy(),
  };
}

/** @param timeoutMs longest time for TCP and TLS together, in milliseconds */
function createConnector(timeoutMs: number): buildConnector.connector {
  const handshake = buildConnector({ allowH2: false, timeout: timeoutMs });
  return (options, callback) => {
    void report(connectTo(options, timeoutMs, handshake), callback);
  };
}

async function report(
  connecting: Promise<Socket>,
  callback: buildConnector.Callback,
): Promise<void> {
  let socket: Socket;
  try {
    socket = await connecting;
  } catch (error) {
    callback(error instanceof Error ? error : new Error("connecting failed"), null);
    return;
  }
  callback(null, socket);
}

async function connectTo(
  options: buildConnector.Options,
  timeoutMs: number,
  handshake: buildConnector.connector,
): Promise<Socket> {
  const { protocol, hostname } = options;
  const host = hostname.replace(/^\[(.*)\]$/, "$1");
  const port = Number(options.port || (protocol === "https:" ? 443 : 80));
  const startedMs = performance.now();
  const socket = await connectTcp({ host, port }, timeoutMs);
  socket.setNoDelay(true).setKeepAlive(true, TCP_KEEP_ALIVE_MS);
  if (protocol !== "https:") return socket;
  const leftMs = Math.max(timeoutMs - (performance.now() - startedMs), 1);
  return new Promise((resolve, reject) => {
    let over = false;
    // The handshake fails then as if the other side had broken it off.
    const limit = setTimeout(() => {
      over = true;
      socket.destroy();
    }, leftMs);
    handshake({ ...options, httpSocket: socket }, (...[error, secured]) => {
      clearTimeout(limit);
      if (error === null) resolve(secured);
      else reject(over ? new ConnectTimeout() : error);
    });
  });
}
