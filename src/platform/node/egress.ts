/**
 * Connections to UponAI and to the issuer of session keys. They are direct, or go through the proxy
 * of `HTTPS_PROXY` or `HTTP_PROXY` unless `NO_PROXY` lists the host. The health check of the
 * container does not use this module.
 */
import type { Socket } from "node:net";

import {
  buildConnector,
  type Dispatcher,
  EnvHttpProxyAgent,
  fetch as undiciFetch,
  Pool,
} from "undici";

import { cleanText } from "../../config/clean-environment.ts";
import type { ConfigProblem, Environment } from "../../config/config.ts";
import type { FetchKeys } from "../../session/remote-keys.ts";
import { connectTcp, ConnectTimeout } from "./connect-tcp.ts";

/** The proxies of the environment, by the scheme of the target. */
export interface ProxySettings {
  readonly https: string | undefined;
  readonly http: string | undefined;
  /** Hosts that are reached directly, as `NO_PROXY` lists them. */
  readonly except: string;
}

export const NO_PROXIES: ProxySettings = { https: undefined, http: undefined, except: "" };

/**
 * Reads `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`. The name in lower case wins, as with curl.
 *
 * @returns the proxies, and a problem for each that is not an http or https URL. A URL may hold a
 *   password, so no problem quotes it.
 */
export function readProxies(environment: Environment): {
  readonly proxies: ProxySettings;
  readonly problems: readonly ConfigProblem[];
} {
  const read = (name: string): string | undefined => {
    const value = cleanText(environment[name.toLowerCase()] ?? environment[name] ?? "");
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

/** Silence before the first TCP keep-alive probe, in milliseconds; the same as undici's default. */
const TCP_KEEP_ALIVE_MS = 60_000;

/** Creates the connection pool of one origin. It connects when the first request needs it. */
export function createDispatcher(
  origin: string,
  { connectTimeoutMs, proxies }: EgressOptions,
): Dispatcher {
  const connect = createConnector(connectTimeoutMs);
  const options = {
    connect,
    // The callers have one time limit for request and answer together.
    headersTimeout: 0,
    bodyTimeout: 0,
    pipelining: 1,
    allowH2: false,
    // Idle sockets are closed before any common server closes them (gunicorn does after 2 s). When
    // a message is written to a socket that the server is closing, it is unknown whether it
    // arrived. For a server that names its time (`Keep-Alive: timeout=`) undici closes two seconds
    // earlier.
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
    // Only a tunnel shows whether a request has been sent: a proxy that receives the request itself
    // may have forwarded it before it answers 502.
    proxyTunnel: true,
    // A proxy that accepts the connection and then sends nothing is given up after the same time.
    clientFactory: (url) =>
      new Pool(url, { connect, headersTimeout: connectTimeoutMs, allowH2: false }),
    requestTls: { allowH2: false, timeout: connectTimeoutMs },
  });
}

export interface NodeFetch {
  readonly fetch: (...args: Parameters<FetchKeys>) => ReturnType<typeof undiciFetch>;
  readonly close: () => Promise<void>;
}

/**
 * Creates a `fetch` for the origin of `url`, with the same proxies and time limits as for UponAI.
 */
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
    // undici then reports a broken handshake; `over` tells that the time limit was the cause.
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
