/**
 * The checks that a request passes before its handler runs, in their order. Each guard returns what
 * it has proven about the request. If a check fails, it throws the problem to answer with, and no
 * later check runs.
 */
import { resolveClientAddress } from "./admission/client-address.ts";
import { compilePolicy, describeRefusal, renderLimitHeaders } from "./admission/limit-policy.ts";
import type { ChatId } from "./branded.ts";
import type { Caller, ChatCaller } from "./chat/chat-parts.ts";
import { parseChatId, parseIdempotencyKey, readRawChatId } from "./chat/message-request.ts";
import type { Config } from "./config/config.ts";
import type { RequestContext } from "./request-context.ts";
import { isTrustedSource } from "./http/cross-site.ts";
import { parsePreference, type Preference } from "./http/prefer.ts";
import { isPlainJson } from "./http/request-head.ts";
import { createSlowBodyGate } from "./http/slow-body-gate.ts";
import { Problem } from "./problem.ts";
import type { Services } from "./services.ts";
import type { Authenticator } from "./session/authenticate.ts";
import type { Session } from "./session/session.ts";
import { createWorkspaceResolver, type Workspace } from "./workspace.ts";

/** Longest time that a body may take to arrive, in milliseconds. */
const BODY_TIMEOUT_MS = 10_000;
/** Most slow bodies at a time: from one client address, and for one subject of a workspace. */
const SLOW_BODIES_PER_ADDRESS_MAX = 100;
const SLOW_BODIES_PER_SUBJECT_MAX = 20;

/** Methods allowed with a cookie when the browser sends neither `Sec-Fetch-Site` nor `Origin`. */
const READING_METHODS: ReadonlySet<string> = new Set(["GET", "HEAD"]);

/** The bytes of a body. The handler parses and validates them. */
export interface WithBody {
  readonly bytes: Uint8Array;
}

/**
 * Checks a request and returns what it has proven.
 *
 * @throws Problem if a check fails
 */
export type Guard<Proof> = (context: RequestContext) => Promise<Proof>;

/** The guards: one for each kind of route. */
export interface Guards {
  /** A session. Its workspace is undefined if the operator has not configured it. */
  readonly session: Guard<{ session: Session; workspace: Workspace | undefined }>;
  /** A session and its configured workspace. */
  readonly caller: Guard<Caller>;
  /** The same, from a bearer token only: the cookie is ignored. */
  readonly bearer: Guard<Caller>;
  /** A caller and a valid chat id. Admission decides later whether the caller may use the chat. */
  readonly chat: Guard<ChatCaller>;
  /** A caller whose workspace has an agent, and the body, which may be empty. */
  readonly start: Guard<Caller & WithBody>;
  /** A caller, a valid chat id, and the body, which may be empty. */
  readonly end: Guard<ChatCaller & WithBody>;
  /**
   * A caller, a valid chat id, the body, the idempotency key (undefined if there is none), and the
   * bounded wait that the client asks for.
   */
  readonly message: Guard<
    ChatCaller &
      WithBody & {
        readonly idempotencyKey: string | undefined;
        readonly preference: Preference | undefined;
      }
  >;
}

/** Creates the guards of all routes. One call per process: it holds the count of slow bodies. */
export function createGuards(
  config: Config,
  services: Services,
  authenticator: Authenticator,
): Guards {
  const { clock, gate, source, state } = services;
  const resolveWorkspace = createWorkspaceResolver(config.workspaces);
  const authFailurePolicy = compilePolicy("auth-failures", config.authFailureLimit);
  const slowBodies = createSlowBodyGate(clock, BODY_TIMEOUT_MS);

  function resolveAddress({ request, env }: RequestContext): string {
    const forwardedFor = request.headers.get("x-forwarded-for");
    return resolveClientAddress(source.peerAddress(env), forwardedFor, config.trustedProxies);
  }

  /**
   * Authenticates the request. All routes get their session from here, so that all of them have the
   * check against cross-site requests.
   *
   * @param addressKey client address, for the limit on wrong credentials
   * @param cookie the `Cookie` header; null if the route ignores cookies
   * @throws Problem `session_missing`, `session_invalid`, `session_expired`, `auth_unavailable`,
   *   `cross_site_request`, or `rate_limited` after too many wrong credentials
   */
  async function requireSession(
    context: RequestContext,
    addressKey: string,
    cookie: string | null,
  ): Promise<Session> {
    const authorization = context.request.headers.get("authorization");
    const result = await authenticator.authenticate(authorization, cookie);
    switch (result.kind) {
      case "session":
        context.subjectHash = result.session.subjectHash;
        requireTrustedSource(context, result.session);
        return result.session;
      case "missing":
        throw new Problem("session_missing");
      case "unavailable":
        throw new Problem("auth_unavailable", { retryAfterSeconds: result.retryAfterSeconds });
      case "refused":
        // An expired session was valid once, so it is no sign of guessing.
        if (result.code === "session_invalid") await countAuthFailure(addressKey);
        throw new Problem(result.code);
    }
  }

  /**
   * Refuses a cookie that a page of another site made the browser send (CSRF). Reads are checked
   * too: the first use of a chat makes the subject its owner and spends limits, so that an image on
   * a sibling subdomain could do harm.
   */
  function requireTrustedSource(
    { request: { method, headers } }: RequestContext,
    session: Session,
  ): void {
    // A browser never adds a bearer token by itself; only a script that has the token can.
    if (session.via === "bearer") return;
    const origin = {
      secFetchSite: headers.get("sec-fetch-site"),
      origin: headers.get("origin"),
      host: headers.get("host"),
    };
    const isUnmarked = origin.secFetchSite === null && origin.origin === null;
    if (isUnmarked && READING_METHODS.has(method)) return;
    if (!isTrustedSource(origin, config)) throw new Problem("cross_site_request");
  }

  /**
   * Counts wrong credentials, against guessing. While the state is unreachable, nothing is limited.
   */
  async function countAuthFailure(addressKey: string): Promise<void> {
    if (authFailurePolicy === undefined) return;
    const outcome = await state.countAuthFailure(addressKey, authFailurePolicy);
    if (outcome.kind !== "limited") return;
    const headers = renderLimitHeaders(outcome.limits);
    throw new Problem("rate_limited", { ...describeRefusal(outcome.limits), headers });
  }

  async function requireCaller(context: RequestContext, cookie: string | null): Promise<Caller> {
    // Resolved first: the connection has no address any more after the client has hung up.
    const addressKey = resolveAddress(context);
    const session = await requireSession(context, addressKey, cookie);
    const workspace = resolveWorkspace(session);
    if (workspace === undefined) throw new Problem("workspace_unmapped");
    context.workspace = workspace.id;
    return { session, workspace, addressKey };
  }

  /**
   * Reads the body, bounded in bytes and time. The request holds none of the `MAX_IN_FLIGHT` places
   * while its body arrives.
   *
   * @throws Problem `content_too_large`, `request_timeout`, `overloaded`, or `invalid_request` if
   *   the client left
   */
  async function readBody(
    { request, env }: RequestContext,
    { session, workspace, addressKey }: Caller,
  ): Promise<Uint8Array> {
    if (parseContentLength(request.headers) > config.bodyBytesMax) {
      throw new Problem("content_too_large");
    }
    gate.requireRoom();
    const body = await source.readBody(request, env, {
      bytesMax: config.bodyBytesMax,
      timeoutMs: BODY_TIMEOUT_MS,
      enterSlow: () =>
        slowBodies.enter([
          { key: `address ${addressKey}`, bodiesMax: SLOW_BODIES_PER_ADDRESS_MAX },
          {
            key: `subject ${workspace.id} ${session.subjectKey}`,
            bodiesMax: SLOW_BODIES_PER_SUBJECT_MAX,
          },
        ]),
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

  /** Reads a body that may be empty. If it is not, its content type must be JSON. */
  async function readOptionalBody(context: RequestContext, caller: Caller): Promise<Uint8Array> {
    const { headers } = context.request;
    // A chunked body without a content type can still turn out to be empty.
    const isTyped = headers.has("transfer-encoding") && headers.has("content-type");
    if (isTyped || parseContentLength(headers) > 0) requireJson(context);
    const bytes = await readBody(context, caller);
    if (bytes.byteLength > 0) requireJson(context);
    return bytes;
  }

  const guards: Guards = {
    async session(context) {
      const session = await requireSession(context, resolveAddress(context), cookieOf(context));
      const workspace = resolveWorkspace(session);
      if (workspace !== undefined) context.workspace = workspace.id;
      return { session, workspace };
    },
    caller: (context) => requireCaller(context, cookieOf(context)),
    bearer: (context) => requireCaller(context, null),
    async chat(context) {
      const caller = await guards.caller(context);
      return { ...caller, chatId: requireChatId(context, config.routePrefix) };
    },
    async start(context) {
      const caller = await guards.caller(context);
      if (caller.workspace.agentId === undefined) throw new Problem("not_found");
      return { ...caller, bytes: await readOptionalBody(context, caller) };
    },
    async end(context) {
      const caller = await guards.chat(context);
      return { ...caller, bytes: await readOptionalBody(context, caller) };
    },
    async message(context) {
      const caller = await guards.caller(context);
      requireJson(context);
      const chatId = requireChatId(context, config.routePrefix);
      const idempotencyKey = requireIdempotencyKey(context);
      // Without a key the request cannot be repeated, so a 202 would lose the answer.
      const preference =
        idempotencyKey === undefined
          ? undefined
          : parsePreference(context.request.headers.get("prefer"));
      const bytes = await readBody(context, caller);
      const { session, workspace, addressKey } = caller;
      return { session, workspace, addressKey, chatId, idempotencyKey, preference, bytes };
    },
  };
  return guards;
}

const CHAT_ID_DETAIL = "Use a chat id of 1 to 128 letters, digits, underscores and hyphens.";
const IDEMPOTENCY_KEY_DETAIL =
  "Use an Idempotency-Key of 1 to 255 visible ASCII characters, such as a UUID.";
const SLOW_BODIES_DETAIL =
  "Wait until your earlier request bodies have arrived in full, then try again, because too many of them arrive slowly.";

function cookieOf({ request: { headers } }: RequestContext): string | null {
  return headers.get("cookie");
}

/** Parses `Content-Length`, in bytes. NaN if it is absent or not a number of at most 15 digits. */
function parseContentLength(headers: Headers): number {
  const length = headers.get("content-length");
  return length === null || !/^\d{1,15}$/.test(length) ? Number.NaN : Number(length);
}

function requireJson({ request: { headers } }: RequestContext): void {
  if (!isPlainJson(headers.get("content-type"), headers.get("content-encoding"))) {
    throw new Problem("unsupported_media_type");
  }
}

function requireChatId({ request: { url } }: RequestContext, prefix: string): ChatId {
  const chatId = parseChatId(readRawChatId(url, prefix));
  if (chatId === undefined) throw new Problem("invalid_request", { detail: CHAT_ID_DETAIL });
  return chatId;
}

/**
 * Parses the `Idempotency-Key` header; undefined if it is absent.
 *
 * @throws Problem `invalid_request` if it is malformed
 */
function requireIdempotencyKey({ request: { headers } }: RequestContext): string | undefined {
  const key = parseIdempotencyKey(headers.get("idempotency-key"));
  if (key === null) throw new Problem("invalid_request", { detail: IDEMPOTENCY_KEY_DETAIL });
  return key;
}
