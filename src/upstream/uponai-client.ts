/**
 * Owns the calls to UponAI: the only place that knows its paths and puts a token on a request.
 * Requests are built from nothing; no header or byte of the browser's gets here but what it says
 * itself and the two ids that tie log lines together. It knows no session and no limit.
 */
import type { ChatId } from "../branded.ts";
import type { Clock } from "../clock.ts";
import type { ProblemCode } from "../problem.ts";
import { USER_AGENT } from "../version.ts";
import type { Circuits, UpstreamAccount } from "./circuits.ts";
import { canBeUponai, classifyReply, type Failure, judgeHealth } from "./classify-reply.ts";
import {
  parseChat,
  parseCompletion,
  type UpstreamChat,
  type UpstreamMessage,
} from "./message-schema.ts";
import { createTokenRing, type TokenRing } from "./token-ring.ts";
import type { UpstreamTransport } from "./transport.ts";

/** What ties a call to the request that caused it. */
export interface TraceIds {
  readonly requestId: string;
  readonly traceparent: string | undefined;
}

/** What happened on the wire, for the log. */
export interface CallRecord {
  /** The status UponAI answered; undefined when it did not. */
  readonly status: number | undefined;
  /** Time spent on the call, with its retries, in milliseconds. */
  readonly ms: number;
  /** Times that a request which had not left was sent anew, or another token was tried. */
  readonly retries: number;
}

export type CallOutcome<Answer> =
  | { readonly kind: "answered"; readonly answer: Answer; readonly call: CallRecord }
  | ({ readonly kind: "failed"; readonly call: CallRecord } & Failure);

/** What a chat is started with; the agent is the operator's choice, the rest the client's. */
export interface ChatSeed {
  readonly agentId: string;
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly variables: Readonly<Record<string, unknown>> | undefined;
}

/** There is no idempotency upstream: a request is sent again only when not one byte of it had left. */
export interface UponaiClient {
  /** Sends a message into a chat (`POST /api/chats/{chatId}/completions`). */
  completeChat(
    account: UpstreamAccount,
    chatId: ChatId,
    content: string,
    trace: TraceIds,
  ): Promise<CallOutcome<readonly UpstreamMessage[]>>;
  /** Starts a chat (`POST /api/chats`). */
  createChat(
    account: UpstreamAccount,
    seed: ChatSeed,
    trace: TraceIds,
  ): Promise<CallOutcome<UpstreamChat>>;
  /**
   * Reads a chat (`GET /api/chats/{chatId}`). One of another id is malformed.
   *
   * @param look where it is no request of its own, but a part of sending a message
   */
  getChat(
    account: UpstreamAccount,
    chatId: ChatId,
    trace: TraceIds,
    look?: Look,
  ): Promise<CallOutcome<UpstreamChat>>;
  /** Ends a chat (`POST /api/chats/{chatId}/end`). */
  endChat(
    account: UpstreamAccount,
    chatId: ChatId,
    trace: TraceIds,
  ): Promise<CallOutcome<undefined>>;
}

/** A look at a chat on the way of a message. */
export interface Look {
  /** Longest time for it, in milliseconds, if less than for other calls. */
  readonly timeoutMsMax: number;
  /**
   * One of many in a search for a lost answer: its failure says no more than the first one did, and
   * one lost message must not open the circuit.
   */
  readonly repeated: boolean;
}

interface Call<Answer> {
  readonly method: "GET" | "POST";
  readonly path: string;
  readonly body?: object;
  readonly timeoutMs: number;
  /** Whether a failure of it says nothing of the upstream that is not known already. */
  readonly repeated?: boolean;
  /** What a successful reply says; undefined when it is malformed or no success at all. */
  readonly read: (
    status: number,
    body: string,
    contentType: string | undefined,
  ) => { readonly answer: Answer } | undefined;
}

/** @param timeoutMs longest time for a call, with its retries */
export function createUponaiClient(
  transport: UpstreamTransport,
  clock: Clock,
  timeoutMs: number,
  circuits: Circuits,
): UponaiClient {
  // By account, not by workspace: two accounts can reach one workspace with tokens of their own.
  const rings = new WeakMap<UpstreamAccount, TokenRing>();

  const ringOf = (account: UpstreamAccount): TokenRing => {
    const known = rings.get(account);
    if (known !== undefined) return known;
    const ring = createTokenRing(account.apiTokens);
    rings.set(account, ring);
    return ring;
  };

  const call = async <Answer>(
    account: UpstreamAccount,
    trace: TraceIds,
    { method, path, body, timeoutMs: callMs, repeated = false, read }: Call<Answer>,
  ): Promise<CallOutcome<Answer>> => {
    const pass = circuits.enter(account);
    if ("retryAfterSeconds" in pass) {
      const { retryAfterSeconds } = pass;
      const nothing: CallRecord = { status: undefined, ms: 0, retries: 0 };
      return {
        kind: "failed",
        code: "upstream_unavailable",
        fate: "not_taken",
        retryAfterSeconds,
        call: nothing,
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
    // A proxy's page says nothing of the token.
    if (reply.kind === "answer" && reply.status === 401 && canBeUponai(reply.contentType)) {
      const other = ring.next(token);
      if (other !== undefined) {
        token = other;
        retries += 1;
        reply = await send(token);
      }
    }
    // The call as a whole counts, not each of its tries.
    pass.record(judgeHealth(reply), !repeated);
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
    completeChat: (account, chatId, content, trace) =>
      call(account, trace, {
        method: "POST",
        path: `/api/chats/${chatId}/completions`,
        body: { workspaceId: account.id, content },
        timeoutMs,
        read: (status, body) => (isSuccess(status) ? wrap(parseCompletion(body)) : undefined),
      }),
    async createChat(account, { agentId, metadata, variables }, trace) {
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
      // There is no chat yet that could be missing or over, and no message that could be changed: the
      // configured agent is what UponAI refuses.
      return asUpstreamError(outcome, "chat_not_found", "chat_ended", "message_rejected");
    },
    async getChat(account, chatId, trace, look) {
      const outcome = await call<UpstreamChat>(account, trace, {
        method: "GET",
        path: `/api/chats/${chatId}?workspaceId=${account.id}`,
        timeoutMs: Math.min(timeoutMs, look?.timeoutMsMax ?? timeoutMs),
        repeated: look?.repeated ?? false,
        read(status, body) {
          const chat = isSuccess(status) ? parseChat(body) : undefined;
          // Another chat than was asked for may be somebody else's.
          return chat?.chatId === chatId ? wrap(chat) : undefined;
        },
      });
      // Nothing was to be taken: that a read was lost is a failure like any other.
      return asUpstreamError(outcome, "outcome_unknown", "message_rejected");
    },
    async endChat(account, chatId, trace) {
      const outcome = await call(account, trace, {
        method: "POST",
        path: `/api/chats/${chatId}/end`,
        body: { workspaceId: account.id },
        timeoutMs,
        // Its body is not read, so a portal's page of status 200 must not pass for it.
        read: (status, _body, contentType) =>
          status === 204 || (status === 200 && canBeUponai(contentType))
            ? { answer: undefined }
            : undefined,
      });
      return asUpstreamError(outcome, "message_rejected");
    },
  };
}

/** The outcome with `upstream_error` in place of codes that say nothing true of this operation. */
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
