/** The service inside another Node server: web-standard `fetch`, and a listener for Node's requests. */
import type { IncomingMessage, ServerResponse } from "node:http";

import { normaliseAddress } from "../../admission/client-address.ts";
import type { ConfigProblem, Environment } from "../../config/config.ts";
import { createCommonHeaders } from "../../http/common-headers.ts";
import { readStream } from "../../http/read-stream.ts";
import type { Logger } from "../../logger.ts";
import type { RequestSource } from "../../services.ts";
import { within } from "../../within.ts";
import { createNodeLog } from "./log.ts";
import { readConfig } from "./read-config.ts";
import { nodeRequestSource } from "./request-source.ts";
import { createNodeHandler } from "./server.ts";
import { createNodeService } from "./service.ts";

/**
 * Settings of `createBff`, by the names of the environment variables, such as `SESSION_PUBLIC_KEY`.
 * Other members are ignored, so that `process.env` can be given. `PORT`, `HOST`, `ADMIN_PORT`,
 * `ADMIN_HOST` and the limits on connections have no effect: the server that mounts has its own.
 */
export type Settings = Environment;

/** Options of `createBff` that are no settings of the service. */
export interface BffOptions {
  /** Takes the log instead of standard output. `fields` hold no secrets and no messages. */
  readonly log?: Logger["log"] | undefined;
}

/** Who sent a web-standard request. */
export interface Connection {
  /**
   * IP address of the other end of the connection, for the limits per address. Behind a proxy set
   * `TRUST_PROXY` as well. Empty only where a platform hides it and `TRUST_PROXY` is at least 1.
   */
  readonly peerAddress: string;
}

/** The service, ready to answer. */
export interface Bff {
  /**
   * Answers a web-standard request.
   *
   * @throws TypeError without a client's address where `TRUST_PROXY` is 0
   */
  readonly fetch: (request: Request, connection: Connection) => Promise<Response>;
  /**
   * Answers a request of Node, Express or Connect. With `next` and `BASE_PATH`, paths that are not
   * below `BASE_PATH` are left to `next`. Mount it before parsers of bodies.
   */
  readonly listener: (
    incoming: IncomingMessage,
    outgoing: ServerResponse,
    next?: (error?: unknown) => void,
  ) => void;
  /**
   * Refuses new requests with 503 `shutting_down`, waits for the others for up to `SHUTDOWN_GRACE`,
   * and closes the connections to Redis and UponAI.
   */
  readonly close: () => Promise<void>;
}

/** Settings that cannot be used. Its message names each of them. */
export class SettingsError extends Error {
  readonly problems: readonly ConfigProblem[];

  constructor(problems: readonly ConfigProblem[]) {
    super(
      problems
        .map(({ variable, problem, example }) => `${variable} ${problem}. Example: ${example}`)
        .join("\n"),
    );
    this.name = "SettingsError";
    this.problems = problems;
  }
}

/** Reads requests of both kinds. */
const anySource: RequestSource = {
  readBody(request, env, limits) {
    if (!isConnection(env)) return nodeRequestSource.readBody(request, env, limits);
    if (request.bodyUsed) throw new Error("the body was read before");
    return readStream(request.body, limits);
  },
  peerAddress: (env) => (isConnection(env) ? env.peerAddress : nodeRequestSource.peerAddress(env)),
};

/**
 * Creates the service for a server of your own. Nothing listens, and no signal is handled.
 *
 * @throws SettingsError with all problems of the settings
 */
export async function createBff(settings: Settings, options: BffOptions = {}): Promise<Bff> {
  const { config, problems, warnings, proxies } = readConfig(settings);
  if (config === undefined) throw new SettingsError(problems);
  const { log: write } = options;
  const log: Logger = write ? { log: write } : createNodeLog(config.log.level, false);
  for (const warning of warnings) log.log("warn", warning);
  const mounted = { ...config, admin: undefined };
  const made = await createNodeService(mounted, log, proxies, anySource);
  if (made.kind === "problem") throw new SettingsError([made.problem]);
  const { app, gate, metrics, close } = made.service;
  const commonHeaders = createCommonHeaders(config.insecure);
  const answer = createNodeHandler(app.fetch, gate, { commonHeaders, log, metrics }, false);
  const { routePrefix } = config;

  return {
    async fetch(request, connection) {
      const { peerAddress } = connection;
      if (config.trustedProxies === 0 && normaliseAddress(peerAddress) === undefined) {
        throw new TypeError(
          "fetch needs the client's address as peerAddress, or TRUST_PROXY of 1 or more",
        );
      }
      return app.fetch(request, { peerAddress });
    },

    listener(incoming, outgoing, next) {
      // Express takes the path at which it mounts out of `url`.
      const original: unknown = Reflect.get(incoming, "originalUrl");
      const url = typeof original === "string" ? original : (incoming.url ?? "");
      if (next !== undefined && routePrefix !== "" && !isBelow(url, routePrefix)) {
        next();
        return;
      }
      if (routePrefix !== "") incoming.url = url;
      void answer(incoming, outgoing);
    },

    async close() {
      await within(config.shutdown.graceMs, gate.drain());
      await close();
    },
  };
}

function isConnection(env: unknown): env is Connection {
  return typeof env === "object" && env !== null && "peerAddress" in env;
}

/** Whether the path of a request target is the prefix or below it. */
function isBelow(url: string, prefix: string): boolean {
  return url.startsWith(prefix) && /^(?:[/?#]|$)/.test(url.slice(prefix.length));
}
