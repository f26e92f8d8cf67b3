/**
 * Owns every route and the order of checks. It knows no runtime: `app.request()` runs all of it.
 */
import { Hono } from "hono";
import { z } from "zod";

import { resolveClientAddress } from "./admission/client-address.ts";
import { compilePolicy } from "./admission/limit-policy.ts";
import { describeRefusal, renderLimitHeaders } from "./admission/rate-limit-headers.ts";
import { parseChatId, readRawChatId } from "./chat/chat-id.ts";
import type { Caller } from "./chat/chat-parts.ts";
import { endChat } from "./chat/end.ts";
import { parseIdempotencyKey } from "./chat/idempotency-key.ts";
import { createMessageSchema, parseBody } from "./chat/message-body.ts";
import { createNotFoundDelay } from "./chat/not-found-delay.ts";
import { readChat } from "./chat/read.ts";
import { sendMessage } from "./chat/send.ts";
import { startChat } from "./chat/start.ts";
import { createStartSchema, parseStartBody } from "./chat/start-body.ts";
import type { ChatId } from "./branded.ts";
import type { Config } from "./config/config.ts";
import { answer, answerJson, createExchange, type Exchange, runExchange } from "./exchange.ts";
import { createSlowBodyGate } from "./http/slow-body-gate.ts";
import { createCommonHeaders } from "./http/common-headers.ts";
import { createPreflightHeaders, isTrustedSource } from "./http/cross-site.ts";
import { isPlainJson } from "./http/media-type.ts";
import { hasDotSegments } from "./http/raw-path.ts";
import { describeApi } from "./openapi.ts";
import { Problem } from "./problem.ts";
import { createReadiness } from "./readiness.ts";
import type { Services } from "./services.ts";
import { createAuthenticator } from "./session/authenticate.ts";
import { createSessionCookies } from "./session/session-cookie.ts";
import type { Session } from "./session/session.ts";
import { endSession, exchangeSession, readSession } from "./session-routes.ts";
import { createUponaiClient } from "./upstream/uponai-client.ts";
import { createWorkspaceResolver, type Workspace } from "./workspace.ts";

/** A body that takes longer than this to arrive is refused, in milliseconds. */
const BODY_TIMEOUT_MS = 10_000;
/** Most slow bodies under way from one client address, and for one subject of a workspace. */
const SLOW_BODIES_PER_ADDRESS_MAX = 100;
const SLOW_BODIES_PER_SUBJECT_MAX = 20;

const METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] as const;

export type App = Hono<{ Bindings: object }>;

/** Methods that a browser which sends neither `Sec-Fetch-Site` nor `Origin` may use with a cookie. */
const READING_METHODS: ReadonlySet<string> = new Set(["GET", "HEAD"]);

type Handler = (exchange: Exchange) => Response | Promise<Response>;

/**
 * Takes a place among `MAX_IN_FLIGHT`; called once, when everything that the headers can decide is
 * decided and the body is in. Until then a request holds no place.
 *
 * @throws Problem `overloaded`
 */
type TakePlace = () => void;

type WorkHandler = (exchange: Exchange, takePlace: TakePlace) => Response | Promise<Response>;

export function createApp(config: Config, services: Services): App {
  const { clock, gate, source, state } = services;
  const app: App = new Hono();
  const cookies =
    config.cookies && createSessionCookies({ ...config.cookies, insecure: config.insecure, clock });
  const authenticator = createAuthenticator({ ...config.session, ...services, cookies });
  const resolveWorkspace = createWorkspaceResolver(config.workspaces);
  const authFailurePolicy = compilePolicy("auth-failures", config.authFailureLimit);
  const messageSchema = createMessageSchema(config.contentCharsMax);
  const startSchema = createStartSchema(config.chats);
  const chatParts = {
    ...services,
    upstream: createUponaiClient(
      services.transport,
      clock,
      config.upstream.timeoutMs,
      services.circuits,
    ),
    notFoundDelay: createNotFoundDelay(),
    chatAccess: config.chats.access,
    recoveryWindowMs: config.upstream.recoveryWindowMs,
    exposeToolCalls: config.exposeToolCalls,
  };
  const sessionParts = {
    state,
    clock,
    cookies,
    hasWorkspaceTable: config.workspaces.kind === "table",
  };
  const exchangeParts = {
    ...services,
    commonHeaders: createCommonHeaders(config.insecure),
    allowedOrigins: config.allowedOrigins,
  };
  const apiDescription = JSON.stringify(describeApi(messageSchema, startSchema));
  const checkReadiness = createReadiness(clock, async () => {
    if (!(await state.isReachable())) return "state_unavailable";
    return (await authenticator.isUsable()) ? undefined : "auth_unavailable";
  });
  const slowBodies = createSlowBodyGate(clock, BODY_TIMEOUT_MS);

  const route = (method: "GET" | "POST" | "DELETE", pattern: string, handler: Handler) => {
    app.on(method, pattern, (c) =>
      runExchange(exchangeParts, createExchange(exchangeParts, pattern, c.req.raw, c.env), handler),
    );
  };

  /** A route that does work: refused while stopping, and bounded by `MAX_IN_FLIGHT`. */
  const worked =
    (handler: WorkHandler): Handler =>
    async (exchange) => {
      gate.requireRunning();
      let entered = false;
      const takePlace = () => {
        gate.enter();
        entered = true;
      };
      try {
        return await handler(exchange, takePlace);
      } finally {
        if (entered) gate.leave();
      }
    };

  route("GET", "/healthz", (exchange) => answerJson(exchange, 200, '{"status":"ok"}'));

  route("GET", "/readyz", async (exchange) => {
    // Not from memory: a load balancer must learn of a stop at once.
    gate.requireRunning();
    const readiness = await checkReadiness();
    if (readiness !== undefined) throw new Problem(readiness);
    return answerJson(exchange, 200, '{"status":"ok"}');
  });

  route("GET", "/openapi.json", (exchange) => answerJson(exchange, 200, apiDescription));

  route(
    "POST",
    "/session",
    worked(async (exchange, takePlace) => {
      if (cookies === undefined) throw new Problem("not_found");
      const session = await requireSession(exchange, resolveAddress(exchange), null);
      const workspace = requireWorkspace(exchange, session);
      takePlace();
      return exchangeSession(sessionParts, exchange, session, workspace);
    }),
  );

  route(
    "GET",
    "/session",
    worked(async (exchange, takePlace) => {
      const session = await requireSession(exchange);
      const workspace = requireWorkspace(exchange, session);
      takePlace();
      return readSession(sessionParts, exchange, session, workspace);
    }),
  );

  route(
    "DELETE",
    "/session",
    worked(async (exchange, takePlace) => {
      const session = await requireSession(exchange);
      const workspace = resolveWorkspace(session);
      if (workspace !== undefined) exchange.workspace = workspace.id;
      takePlace();
      return endSession(sessionParts, exchange, session, workspace?.id);
    }),
  );

  route(
    "POST",
    "/chat/:chatId/send",
    worked(async (exchange, takePlace) => {
      const caller = await requireCaller(exchange);
      requireJson(exchange);
      const chatId = requireChatId(exchange);
      const idempotencyKey = readIdempotencyKey(exchange);
      const bytes = await readBody(exchange, caller);
      takePlace();
      const { content } = parseBody(bytes, messageSchema);
      return sendMessage(chatParts, exchange, { ...caller, chatId, content, idempotencyKey });
    }),
  );

  route(
    "POST",
    "/chat",
    worked(async (exchange, takePlace) => {
      const caller = await requireCaller(exchange);
      if (caller.workspace.agentId === undefined) throw new Problem("not_found");
      const bytes = await readOptionalBody(exchange, caller);
      takePlace();
      return startChat(chatParts, exchange, caller, parseStartBody(bytes, startSchema));
    }),
  );

  route(
    "GET",
    "/chat/:chatId",
    worked(async (exchange, takePlace) => {
      const caller = await requireCaller(exchange);
      const chatId = requireChatId(exchange);
      takePlace();
      return readChat(chatParts, exchange, { ...caller, chatId });
    }),
  );

  route(
    "POST",
    "/chat/:chatId/end",
    worked(async (exchange, takePlace) => {
      const caller = await requireCaller(exchange);
      const chatId = requireChatId(exchange);
      const bytes = await readOptionalBody(exchange, caller);
      takePlace();
      if (bytes.byteLength > 0) parseBody(bytes, EMPTY_BODY);
      return endChat(chatParts, exchange, { ...caller, chatId });
    }),
  );

  // Handlers answer their own defects; this is for what happens around them.
  app.onError((error, c) => {
    const handler: Handler = () => {
      throw error;
    };
    const exchange = createExchange(exchangeParts, "unmatched", c.req.raw, c.env);
    return runExchange(exchangeParts, exchange, handler);
  });

  app.notFound((c) => {
    const handler: Handler = (exchange) => answerUnrouted(exchange, c.req.path);
    const exchange = createExchange(exchangeParts, "unmatched", c.req.raw, c.env);
    return runExchange(exchangeParts, exchange, handler);
  });

  /** Session, origin of cookie requests, workspace: an earlier failure answers, nothing later runs. */
  async function requireCaller(exchange: Exchange): Promise<Caller> {
    // First: once a client has hung up, its connection has no address any more.
    const addressKey = resolveAddress(exchange);
    const session = await requireSession(exchange, addressKey);
    const workspace = requireWorkspace(exchange, session);
    return { session, workspace, addressKey };
  }

  /** Reads a body that may be absent; where there is one, it must be JSON. */
  async function readOptionalBody(exchange: Exchange, caller: Caller): Promise<Uint8Array> {
    const { headers } = exchange.request;
    // Chunks without a type may still turn out to be empty.
    const isTyped = headers.has("transfer-encoding") && headers.has("content-type");
    if (isTyped || declaredLength(headers) > 0) requireJson(exchange);
    const bytes = await readBody(exchange, caller);
    if (bytes.byteLength > 0) requireJson(exchange);
    return bytes;
  }

  /** Reads the body within its bounds; it holds no place among `MAX_IN_FLIGHT` meanwhile. */
  async function readBody(
    { request, env }: Exchange,
    { session, workspace, addressKey }: Caller,
  ): Promise<Uint8Array> {
    if (declaredLength(request.headers) > config.bodyBytesMax) {
      throw new Problem("content_too_large");
    }
    gate.requireRoom();
    const holders = [
      { key: `address ${addressKey}`, bodiesMax: SLOW_BODIES_PER_ADDRESS_MAX },
      {
        key: `subject ${workspace.id} ${session.subjectKey}`,
        bodiesMax: SLOW_BODIES_PER_SUBJECT_MAX,
      },
    ];
    const body = await source.readBody(request, env, {
      bytesMax: config.bodyBytesMax,
      timeoutMs: BODY_TIMEOUT_MS,
      enterSlow: () => slowBodies.enter(holders),
    });
    switch (body.kind) {
      case "read":
        return body.bytes;
      case "too_large":
        throw new Problem("content_too_large");
      case "too_slow":
        throw new Problem("request_timeout");
      case "too_many_slow":
        throw new Problem("overloaded", { detail: SLOW_BODIES_DETAIL });
      case "aborted":
        throw new Problem("invalid_request");
    }
  }

  function resolveAddress({ request, env }: Exchange): string {
    const forwardedFor = request.headers.get("x-forwarded-for");
    return resolveClientAddress(source.peerAddress(env), forwardedFor, config.trustedProxies);
  }

  /**
   * The only way to a session. The guard against foreign sites is in here, so that no route that
   * acts for a session can be without it.
   */
  async function requireSession(
    exchange: Exchange,
    addressKey = resolveAddress(exchange),
    cookie = exchange.request.headers.get("cookie"),
  ): Promise<Session> {
    const authorization = exchange.request.headers.get("authorization");
    const result = await authenticator.authenticate(authorization, cookie);
    switch (result.kind) {
      case "session":
        exchange.subjectHash = result.session.subjectHash;
        requireTrustedSource(exchange, result.session);
        return result.session;
      case "missing":
        throw new Problem("session_missing");
      case "unavailable":
        throw new Problem("auth_unavailable");
      case "refused":
        // An expired session was right once: who comes late is no guesser, nor is their neighbour.
        if (result.code === "session_invalid") await countAuthFailure(addressKey);
        throw new Problem(result.code);
    }
  }

  /**
   * Refuses a cookie that another site's page made the browser send. Reads are guarded too: a first
   * use claims the chat and spends limits, so that an image on a sibling subdomain could do harm.
   */
  function requireTrustedSource(
    { request: { method, headers } }: Exchange,
    session: Session,
  ): void {
    // Only the page that has a bearer token can add it.
    if (session.via === "bearer") return;
    const source = {
      secFetchSite: headers.get("sec-fetch-site"),
      origin: headers.get("origin"),
      host: headers.get("host"),
    };
    const isUnmarked = source.secFetchSite === null && source.origin === null;
    if (isUnmarked && READING_METHODS.has(method)) return;
    if (!isTrustedSource(source, config)) throw new Problem("cross_site_request");
  }

  /** Whoever guesses is slowed down. With the state out, the refusal stands as it is. */
  async function countAuthFailure(addressKey: string): Promise<void> {
    if (authFailurePolicy === undefined) return;
    const outcome = await state.countAuthFailure(addressKey, authFailurePolicy);
    if (outcome.kind !== "limited") return;
    const headers = renderLimitHeaders(outcome.limits);
    throw new Problem("rate_limited", { ...describeRefusal(outcome.limits), headers });
  }

  function requireWorkspace(exchange: Exchange, session: Session): Workspace {
    const workspace = resolveWorkspace(session);
    if (workspace === undefined) throw new Problem("workspace_unmapped");
    exchange.workspace = workspace.id;
    return workspace;
  }

  /** A path that is known by another method, or not at all. */
  function answerUnrouted(exchange: Exchange, path: string): Response {
    // Node's listener refuses such a target before a URL is made of it; Workers hand it over as it is.
    if (hasDotSegments(exchange.request.url)) throw new Problem("invalid_request");
    const allowed: string[] = METHODS.filter((method) => {
      const routed = method === "HEAD" ? "GET" : method;
      return app.router.match(routed, path)[0].length > 0;
    });
    if (allowed.length === 0) throw new Problem("not_found");
    const methods = [...allowed, "OPTIONS"].join(", ");
    const headers = { Allow: methods };
    const { request } = exchange;
    if (request.method === "OPTIONS") {
      const origin = request.headers.get("origin");
      if (origin === null || !request.headers.has("access-control-request-method")) {
        return answer(exchange, 204, null, headers);
      }
      const preflight = createPreflightHeaders(origin, config.allowedOrigins, methods);
      return answer(exchange, 204, null, { ...headers, ...preflight });
    }
    throw new Problem("method_not_allowed", { headers });
  }

  return app;
}

const CHAT_ID_DETAIL = "Use a chat id of 1 to 128 letters, digits, underscores and hyphens.";
const IDEMPOTENCY_KEY_DETAIL =
  "Use an Idempotency-Key of 1 to 255 visible ASCII characters, such as a UUID.";

const SLOW_BODIES_DETAIL =
  "Wait until your earlier requests have arrived in full, then try again: too many are being sent slowly.";

/** The length that a body announces, in bytes; NaN where it announces none. */
function declaredLength(headers: Headers): number {
  const length = headers.get("content-length");
  return length === null || !/^\d{1,15}$/.test(length) ? Number.NaN : Number(length);
}

function requireJson({ request: { headers } }: Exchange): void {
  if (!isPlainJson(headers.get("content-type"), headers.get("content-encoding"))) {
    throw new Problem("unsupported_media_type");
  }
}

function requireChatId({ request: { url } }: Exchange): ChatId {
  const chatId = parseChatId(readRawChatId(url));
  if (chatId === undefined) throw new Problem("invalid_request", { detail: CHAT_ID_DETAIL });
  return chatId;
}

function readIdempotencyKey({ request: { headers } }: Exchange): string | undefined {
  const key = parseIdempotencyKey(headers.get("idempotency-key"));
  if (key === null) throw new Problem("invalid_request", { detail: IDEMPOTENCY_KEY_DETAIL });
  return key;
}

/** A route that takes nothing refuses what it would have to ignore. */
const EMPTY_BODY = z.strictObject({});
