/**
 * Implements the chat provider for UponAI: the only file that knows UponAI's paths and request bodies
 * and that adds an API token to a request. Each request is built from scratch, so that no header of
 * the browser's request reaches UponAI. It carries the message, the configured values and the two
 * trace ids. Sessions and limits are not checked here.
 */
import type {
  CallOutcome,
  CallRecord,
  ChatProvider,
  ProviderAccount,
  ProviderChat,
  TraceIds,
} from "../chat/chat-provider.ts";
import type { Clock } from "../clock.ts";
import type { ProblemCode } from "../problem.ts";
import { USER_AGENT } from "../version.ts";
import type { Circuits } from "./circuits.ts";
import { canBeUponai, classifyReply, judgeHealth } from "./classify-reply.ts";
import { parseChat, parseCompletion } from "./message-schema.ts";
import type { UpstreamTransport } from "./transport.ts";

interface Call<Answer> {
  readonly method: "GET" | "POST";
  readonly path: string;
  readonly body?: object;
  readonly timeoutMs: number;
  /** False: a failure does not count for the circuits. Default: true. */
  readonly counts?: boolean;
  /** Parses a successful reply; undefined if the reply is malformed or not a success. */
  readonly read: (
    status: number,
    body: string,
    contentType: string | undefined,
  ) => { readonly answer: Answer } | undefined;
}

/**
 * Creates the client for one UponAI origin.
 *
 * @param transport reaches that origin only
 * @param timeoutMs longest time for a call including its retries, in milliseconds
 */
export function createUponaiClient(
  transport: UpstreamTransport,
  clock: Clock,
  timeoutMs: number,
  circuits: Circuits,
): ChatProvider {
  // Per account, not per workspace: two accounts can reach one workspace with different tokens.
  const rings = new WeakMap<ProviderAccount, TokenRing>();

  const ringOf = (account: ProviderAccount): TokenRing => {
    const known = rings.get(account);
    if (known !== undefined) return known;
    const ring = createTokenRing(account.apiTokens);
    rings.set(account, ring);
    return ring;
  };

  const call = async <Answer>(
    account: ProviderAccount,
    trace: TraceIds,
    { method, path, body, timeoutMs: callMs, counts = true, read }: Call<Answer>,
  ): Promise<CallOutcome<Answer>> => {
    const pass = circuits.enter(account);
    if ("retryAfterSeconds" in pass) {
      const { retryAfterSeconds } = pass;
      return {
        kind: "failed",
        code: "upstream_unavailable",
        disposition: "not_taken",
        retryAfterSeconds,
        call: { status: undefined, ms: 0, retries: 0 },
      };
    }
    const startedMs = clock.monotonicMs();
    const ring = ringOf(account);
    const text = body === undefined ? {} : { body: JSON.stringify(body) };
    const send = (token: string) => {
      const leftMs = Math.max(callMs - (clock.monotonicMs() - startedMs), 1);
      const headers = buildHeaders(token, trace, body !== undefined);
      return transport({ method, path, headers, ...text, timeoutMs: leftMs });
    };

    let token = ring.current();
    let retries = 0;
    let reply = await send(token);
    if (reply.kind === "not_sent" && reply.reason === "connect") {
      retries += 1;
      reply = await send(token);
    }
    // A proxy's 401 says nothing about the token.
    if (reply.kind === "answer" && reply.status === 401 && canBeUponai(reply.contentType)) {
      const other = ring.next(token);
      if (other !== undefined) {
        token = other;
        retries += 1;
        reply = await send(token);
      }
    }
    // Recorded once per call, not once per try.
    pass.record(judgeHealth(reply), counts);
    const record: CallRecord = {
      status: reply.kind === "answer" ? reply.status : undefined,
      ms: clock.monotonicMs() - startedMs,
      retries,
    };
    const success =
      reply.kind === "answer" ? read(reply.status, reply.body, reply.contentType) : undefined;
    if (success !== undefined) return { kind: "answered", answer: success.answer, call: record };
    return { kind: "failed", ...classifyReply(reply, clock.epochMs()), call: record };
  };

  return {
    send: (account, chatId, content, trace) =>
      call(account, trace, {
        method: "POST",
        path: `/api/chats/${chatId}/completions`,
        body: { workspaceId: account.id, content },
        timeoutMs,
        read: (status, body) => (isSuccess(status) ? wrap(parseCompletion(body)) : undefined),
      }),
    async start(account, { agentId, metadata, variables }, trace) {
      const outcome = await call(account, trace, {
        method: "POST",
        path: "/api/chats",
        body: {
          workspaceId: account.id,
          agent_id: agentId,
          metadata,
          uponai_dynamic_variables: variables,
        },
        timeoutMs,
        read: (status, body) => (isSuccess(status) ? wrap(parseChat(body)) : undefined),
      });
      // There is no chat yet that could be absent or ended, and no message that the client could
      // change: UponAI refuses the configured agent.
      return asUpstreamError(outcome, "chat_not_found", "chat_ended", "message_rejected");
    },
    async read(account, chatId, trace, auxiliary) {
      const outcome = await call<ProviderChat>(account, trace, {
        method: "GET",
        path: `/api/chats/${chatId}?workspaceId=${account.id}`,
        timeoutMs: Math.min(timeoutMs, auxiliary?.timeoutMsMax ?? timeoutMs),
        counts: auxiliary?.purpose !== "recover",
        read(status, body) {
          const chat = isSuccess(status) ? parseChat(body) : undefined;
          // A chat with another id may belong to another user.
          return chat?.chatId === chatId ? wrap(chat) : undefined;
        },
      });
      // A read has no effect, so a lost reply is an ordinary failure.
      return asUpstreamError(outcome, "outcome_unknown", "message_rejected");
    },
    async end(account, chatId, trace) {
      const outcome = await call(account, trace, {
        method: "POST",
        path: `/api/chats/${chatId}/end`,
        body: { workspaceId: account.id },
        timeoutMs,
        // The body is not parsed, so the media type must exclude a captive portal's page with
        // status 200.
        read: (status, _body, contentType) =>
          status === 204 || (status === 200 && canBeUponai(contentType))
            ? { answer: undefined }
            : undefined,
      });
      return asUpstreamError(outcome, "message_rejected");
    },
  };
}

/** Replaces codes that would be wrong for this operation by `upstream_error`. */
function asUpstreamError<Answer>(
  outcome: CallOutcome<Answer>,
  ...misleading: readonly ProblemCode[]
): CallOutcome<Answer> {
  return outcome.kind === "failed" && misleading.includes(outcome.code)
    ? { ...outcome, code: "upstream_error" }
    : outcome;
}

function isSuccess(status: number): boolean {
  return status === 200 || status === 201;
}

function wrap<Answer>(answer: Answer | undefined): { readonly answer: Answer } | undefined {
  return answer === undefined ? undefined : { answer };
}

function buildHeaders(token: string, trace: TraceIds, hasBody: boolean): Record<string, string> {
  const headers: Record<string, string> = {
    Authorization: `Bearer ${token}`,
    Accept: "application/json",
    "Accept-Encoding": "identity",
    "User-Agent": USER_AGENT,
    "X-Request-Id": trace.requestId,
  };
  if (hasBody) headers["Content-Type"] = "application/json";
  if (trace.traceparent !== undefined) headers["traceparent"] = trace.traceparent;
  return headers;
}

/** Selects which of an account's API tokens is used while they are rotated. */
export interface TokenRing {
  current(): string;
  /**
   * Moves on after `refused` was answered 401, also for later requests.
   *
   * @returns the token to try; undefined if there is no other
   */
  next(refused: string): string | undefined;
}

/** @param tokens the preferred one first */
export function createTokenRing(tokens: readonly [string, ...string[]]): TokenRing {
  let token = tokens[0];
  return {
    current: () => token,
    next(refused) {
      // Another request has moved on already; its token is tried.
      if (token !== refused) return token;
      const following = tokens[(tokens.indexOf(refused) + 1) % tokens.length];
      if (following === undefined || following === refused) return undefined;
      token = following;
      return token;
    },
  };
}
