/** Shapes of the answers of uponai-bff, as its `openapi.json` describes them. */

/** A message of a chat's transcript. */
export interface ApiMessage {
  /** `assistant` or `user`; other roles only where the operator exposes tool calls. */
  readonly role: string;
  readonly content: string;
  readonly name?: string | undefined;
  /** Only where the operator exposes tool calls. */
  readonly tool_calls?: readonly Record<string, unknown>[] | undefined;
}

/** A chat that was just started. Times are RFC 3339, UTC. */
export interface StartedChat {
  readonly chatId: string;
  readonly status: string | null;
  readonly startedAt: string | null;
  readonly messages: readonly ApiMessage[];
}

/** A chat with its transcript. Times are RFC 3339, UTC. */
export interface Transcript extends StartedChat {
  /** null while the chat goes on. */
  readonly endedAt: string | null;
}

/** The session that a request has. */
export interface Session {
  /** The end user: the `sub` claim of the session token. */
  readonly subject: string;
  /** Value of the workspace claim; absent where one workspace serves all. */
  readonly workspace?: string | undefined;
  /** RFC 3339, UTC. */
  readonly expiresAt: string;
}

/** Codes of the service's problems (RFC 9457), member `code`. */
export type ProblemCode =
  | "invalid_request"
  | "session_missing"
  | "session_invalid"
  | "session_expired"
  | "session_revoked"
  | "cross_site_request"
  | "workspace_unmapped"
  | "not_found"
  | "chat_not_found"
  | "method_not_allowed"
  | "request_timeout"
  | "chat_busy"
  | "request_in_progress"
  | "chat_ended"
  | "content_too_large"
  | "unsupported_media_type"
  | "idempotency_key_reused"
  | "message_rejected"
  | "rate_limited"
  | "internal_error"
  | "upstream_error"
  | "upstream_unreachable"
  | "upstream_malformed"
  | "upstream_auth_failed"
  | "upstream_busy"
  | "upstream_unavailable"
  | "overloaded"
  | "state_unavailable"
  | "auth_unavailable"
  | "shutting_down"
  | "upstream_timeout"
  | "outcome_unknown";
