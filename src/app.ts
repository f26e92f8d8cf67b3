/**
 * The table of routes: the guard and the handler of each. `guards.ts` has the order of the checks.
 * Nothing here depends on a runtime, so that tests run all of it with `app.request()`.
 */
import { Hono } from "hono";
import { z } from "zod";

import { answerMessage } from "./chat/bounded-wait.ts";
import { endChat } from "./chat/end.ts";
import { createMessageSchema, parseBody } from "./chat/message-request.ts";
import { createNotFoundDelay } from "./chat/not-found-delay.ts";
import { readChat } from "./chat/read.ts";
import { startChat } from "./chat/start.ts";
import { createStartSchema, parseStartBody } from "./chat/start-body.ts";
import type { Config } from "./config/config.ts";
import {
  answer,
  answerJson,
  createRequestContext,
  type RequestContext,
  handleRequest,
} from "./request-context.ts";
import { createGuards, type Guard } from "./guards.ts";
import { createElementScript } from "./element-script.ts";
import { createCommonHeaders } from "./http/common-headers.ts";
import { createPreflightHeaders } from "./http/cross-site.ts";
import { hasDotSegments } from "./http/request-head.ts";
import { describeApi } from "./openapi.ts";
import { Problem } from "./problem.ts";
import { createReadiness } from "./readiness.ts";
import type { Services } from "./services.ts";
import { createAuthenticator } from "./session/authenticate.ts";
import { createSessionCookies } from "./session/session-cookie.ts";
import { endSession, exchangeSession, readSession } from "./session-routes.ts";
import { createUponaiClient } from "./upstream/uponai-client.ts";
import { listWorkspaceIds } from "./workspace.ts";

const METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] as const;

export type App = Hono<{ Bindings: object }>;

type Method = "GET" | "POST" | "DELETE";
type HandlerResult = Response | Promise<Response>;

interface Route {
  readonly method: Method;
  readonly pattern: string;
  readonly handle: (context: RequestContext) => HandlerResult;
}

/**
 * Creates the application: a hono app that answers every request, refusals and defects included.
 */
export function createApp(config: Config, services: Services): App {
  const { clock, gate, state } = services;
  const app: App = new Hono();
  const cookies =
    config.cookies &&
    createSessionCookies({
      ...services,
      ...config.cookies,
      insecure: config.insecure,
      basePath: config.basePath,
    });
  const authenticator = createAuthenticator({ ...config.session, ...services, cookies });
  const guards = createGuards(config, services, authenticator);
  const messageSchema = createMessageSchema(config.contentCharsMax);
  const startSchema = createStartSchema(config.chats);
  const chatParts = {
    ...services,
    provider: createUponaiClient(
      services.transport,
      clock,
      config.upstream.timeoutMs,
      services.circuits,
    ),
    notFoundDelay: createNotFoundDelay(),
    chatAccess: config.chats.access,
    recoveryWindowMs: config.upstream.recoveryWindowMs,
    exposeToolCalls: config.exposeToolCalls,
    basePath: config.basePath,
  };
  const sessionParts = {
    state,
    clock,
    cookies,
    hasWorkspaceTable: config.workspaces.kind === "table",
    workspaceIds: listWorkspaceIds(config.workspaces),
  };
  const contextParts = {
    ...services,
    commonHeaders: createCommonHeaders(config.insecure),
    allowedOrigins: config.allowedOrigins,
  };
  const apiDescription = JSON.stringify(describeApi(messageSchema, startSchema, config));
  const checkReadiness = createReadiness(clock, async () => {
    if (!(await state.isReachable())) return "state_unavailable";
    return (await authenticator.isUsable()) ? undefined : "auth_unavailable";
  });

  /** Creates a route without a guard. It is answered even while the service stops. */
  const open = (method: Method, pattern: string, handle: Route["handle"]): Route => ({
    method,
    pattern,
    handle,
  });

  /**
   * Creates a route that does work. Its guard runs first and reads the body. Only then does the
   * request take one of the `MAX_IN_FLIGHT` places, so that a slow or refused request holds none.
   */
  const work = <Proof>(
    method: Method,
    pattern: string,
    guard: Guard<Proof>,
    handle: (context: RequestContext, proof: Proof) => HandlerResult,
  ): Route => ({
    method,
    pattern,
    async handle(context) {
      gate.requireRunning();
      const proof = await guard(context);
      gate.enter();
      try {
        return await handle(context, proof);
      } finally {
        // A message that goes on after its request was answered keeps the place of the request.
        if (context.ongoing === undefined) gate.leave();
        else void context.ongoing.then(() => gate.leave());
      }
    },
  });

  const script =
    services.elementScript === undefined
      ? undefined
      : createElementScript(services.elementScript, config.basePath, services.hashing);

  const routes: readonly Route[] = [
    open("GET", "/healthz", (context) => answerJson(context, 200, '{"status":"ok"}')),
    open("GET", "/readyz", answerReadiness),
    open("GET", "/openapi.json", (context) => answerJson(context, 200, apiDescription)),

    ...(script === undefined
      ? []
      : [script.path, script.hashedPath].map((path) => open("GET", path, script.answer))),

    cookies === undefined
      ? open("POST", "/session", refuseUnknown)
      : work("POST", "/session", guards.bearer, (context, { session, workspace }) =>
          exchangeSession({ ...sessionParts, cookies }, context, session, workspace),
        ),
    work("GET", "/session", guards.caller, (context, { session, workspace }) =>
      readSession(sessionParts, context, session, workspace),
    ),
    work("DELETE", "/session", guards.session, (context, { session, workspace }) =>
      endSession(sessionParts, context, session, workspace?.id),
    ),

    work("POST", "/chat", guards.start, (context, { bytes, ...caller }) =>
      startChat(chatParts, context, caller, parseStartBody(bytes, startSchema)),
    ),
    work("GET", "/chat/:chatId", guards.chat, (context, caller) =>
      readChat(chatParts, context, caller),
    ),
    work("POST", "/chat/:chatId/send", guards.message, (context, message) =>
      answerMessage(chatParts, context, { ...message, ...parseBody(message.bytes, messageSchema) }),
    ),
    work("POST", "/chat/:chatId/end", guards.end, (context, { bytes, ...caller }) => {
      if (bytes.byteLength > 0) parseBody(bytes, EMPTY_BODY);
      return endChat(chatParts, context, caller);
    }),
  ];

  for (const { method, pattern, handle } of routes) {
    app.on(method, config.routePrefix + pattern, (c) =>
      handleRequest(
        contextParts,
        createRequestContext(contextParts, pattern, c.req.raw, c.env),
        handle,
      ),
    );
  }

  // `handleRequest` answers the defects of handlers. This answers the defects of hono around them.
  app.onError((error, c) => {
    const context = createRequestContext(contextParts, "unmatched", c.req.raw, c.env);
    return handleRequest(contextParts, context, () => {
      throw error;
    });
  });

  app.notFound((c) => {
    const context = createRequestContext(contextParts, "unmatched", c.req.raw, c.env);
    return handleRequest(contextParts, context, () => answerUnrouted(context, c.req.path));
  });

  async function answerReadiness(context: RequestContext): Promise<Response> {
    // Checked on each request, not once per second: a load balancer must see a stop at once.
    if (gate.stopping) throw new Problem("shutting_down");
    const readiness = await checkReadiness();
    if (readiness !== undefined) throw new Problem(readiness);
    return answerJson(context, 200, '{"status":"ok"}');
  }

  /**
   * Answers a request that no route matches: 404, 405 with `Allow`, `OPTIONS`, or a CORS preflight.
   */
  function answerUnrouted(context: RequestContext, path: string): Response {
    // On Node the listener has refused such a target already, before it parses the URL. On Workers
    // the target arrives here.
    if (hasDotSegments(context.request.url)) throw new Problem("invalid_request");
    const allowed: string[] = METHODS.filter((method) => {
      const routed = method === "HEAD" ? "GET" : method;
      return app.router.match(routed, path)[0].length > 0;
    });
    if (allowed.length === 0) throw new Problem("not_found");
    const methods = [...allowed, "OPTIONS"].join(", ");
    const headers = { Allow: methods };
    const { request } = context;
    if (request.method === "OPTIONS") {
      const origin = request.headers.get("origin");
      if (origin === null || !request.headers.has("access-control-request-method")) {
        return answer(context, 204, null, headers);
      }
      const preflight = createPreflightHeaders(origin, config.allowedOrigins, methods);
      return answer(context, 204, null, { ...headers, ...preflight });
    }
    throw new Problem("method_not_allowed", { headers });
  }

  return app;
}

function refuseUnknown(): never {
  throw new Problem("not_found");
}

/** Body of a route without parameters. Members are refused: they would have no effect. */
const EMPTY_BODY = z.strictObject({});
