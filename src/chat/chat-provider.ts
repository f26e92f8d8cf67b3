/**
 * Port between the chat routes and the service that runs the agents. `chat/` depends on these types
 * only; `src/upstream/uponai-client.ts` implements them for UponAI.
 */
import type { ChatId, WorkspaceId } from "../branded.ts";
import type { ProblemCode } from "../problem.ts";

/**
 * Calls to the provider. No method throws for what the provider or the network does.
 *
 * The provider has no idempotency: an implementation may send a request again only if no byte of it
 * was written before.
 */
export interface ChatProvider {
  /** Starts a chat. Never fails with `chat_not_found`, `chat_ended` or `message_rejected`. */
  start(
    account: ProviderAccount,
    seed: ChatSeed,
    trace: TraceIds,
  ): Promise<CallOutcome<ProviderChat>>;
  /** Sends a message into a chat; the answer is the messages that the agent replied with. */
  send(
    account: ProviderAccount,
    chatId: ChatId,
    content: string,
    trace: TraceIds,
  ): Promise<CallOutcome<readonly ProviderMessage[]>>;
  /**
   * Reads a chat with its transcript. Never fails with `outcome_unknown` or `message_rejected`. An
   * answer with another chat id than the requested one fails with `upstream_malformed`.
   *
   * @param auxiliary given if the read is a step of another operation; absent if the client asked
   *   for the chat
   */
  read(
    account: ProviderAccount,
    chatId: ChatId,
    trace: TraceIds,
    auxiliary?: AuxiliaryRead,
  ): Promise<CallOutcome<ProviderChat>>;
  /** Ends a chat. Never fails with `message_rejected`. */
  end(account: ProviderAccount, chatId: ChatId, trace: TraceIds): Promise<CallOutcome<undefined>>;
}

/** The account that a call uses: one workspace, and the API tokens that reach it. */
export interface ProviderAccount {
  readonly id: WorkspaceId;
  /** The preferred token first. */
  readonly apiTokens: readonly [string, ...string[]];
}

/** Ids that connect a call with the client's request in logs and traces. */
export interface TraceIds {
  readonly requestId: string;
  /** W3C `traceparent`; undefined if the request is not traced. */
  readonly traceparent: string | undefined;
}

/** A read of a chat that is a step of another operation. */
export interface AuxiliaryRead {
  /**
   * What the read is for.
   *
   * - `check`: one read before the operation, to learn the transcript state and the owner;
   * - `recover`: one of several reads that search for one lost answer. Its failure does not count
   *   for the circuit breaker: one lost message must not open the circuit.
   */
  readonly purpose: "check" | "recover";
  /** Longest time for the read, in milliseconds, if shorter than the provider's own limit. */
  readonly timeoutMsMax: number;
}

/** Content of a new chat. The operator configures the agent; the rest comes from the client. */
export interface ChatSeed {
  readonly agentId: string;
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly variables: Readonly<Record<string, unknown>> | undefined;
}

/** A message as the provider returns it. Agents that call tools leave out the role or the content. */
export interface ProviderMessage {
  /** Absent or null: `assistant`. */
  readonly role?: string | null | undefined;
  readonly content?: string | null | undefined;
  readonly name?: string | null | undefined;
  readonly toolCalls?: Record<string, unknown>[] | null | undefined;
}

/** A chat as the provider returns it. */
export interface ProviderChat {
  /** Not validated: pass it to `parseChatId` before it is used in a path or a key. */
  readonly chatId: string;
  readonly status?: string | null | undefined;
  /** RFC 3339, UTC. */
  readonly startedAt?: string | null | undefined;
  /** RFC 3339, UTC. */
  readonly endedAt?: string | null | undefined;
  readonly messages?: readonly ProviderMessage[] | null | undefined;
  readonly metadata?: Readonly<Record<string, unknown>> | null | undefined;
}

export type CallOutcome<Answer> =
  | { readonly kind: "answered"; readonly answer: Answer; readonly call: CallRecord }
  | ({ readonly kind: "failed"; readonly call: CallRecord } & ProviderFailure);

/** What happened on the wire, for the log and the metrics. */
export interface CallRecord {
  /** HTTP status of the answer; undefined if there was none. */
  readonly status: number | undefined;
  /** Duration of the call including its retries, in milliseconds. */
  readonly ms: number;
  /** How often the request was sent again: without a connection, or with another token. */
  readonly retries: number;
}

export interface ProviderFailure {
  readonly code: ProblemCode;
  readonly disposition: CallDisposition;
  /** When to try again, in seconds, 1 to 60; given if the provider says so or is busy. */
  readonly retryAfterSeconds?: number;
}

/**
 * What became of the request of a failed call. The words are those of a settlement.
 *
 * - `taken`: the provider handled the request and refused it for good. The same request would be
 *   refused again, so the refusal is the final answer of an idempotency key.
 * - `not_taken`: the request certainly had no effect. It may be sent again.
 * - `unknown`: the request may have had its effect.
 */
export type CallDisposition = "taken" | "not_taken" | "unknown";
