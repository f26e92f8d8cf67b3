/**
 * Port to the network: one HTTP request to the upstream's fixed origin. A reply distinguishes whether
 * the request can have left this machine, and what came back.
 */

export interface UpstreamRequest {
  readonly method: "GET" | "POST";
  /** Path and query below the fixed origin, already encoded. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Longest time for the request and its reply, connecting included, in milliseconds. */
  readonly timeoutMs: number;
}

export type UpstreamReply =
  | {
      readonly kind: "answer";
      readonly status: number;
      /** The `Retry-After` header, not parsed. */
      readonly retryAfter: string | undefined;
      /** The `Content-Type` header, not parsed; absent or undefined if there was none. */
      readonly contentType?: string | undefined;
      /** The whole body, decoded; empty for any status but 200 and 201, whose bodies are not used. */
      readonly body: string;
    }
  /** No byte was written: name, connection or TLS failed. Safe to try again. */
  | { readonly kind: "not_sent"; readonly reason: "connect" | "connect_timeout" }
  /** Written at least in part, then the connection broke: the request may have had its effect. */
  | { readonly kind: "lost" }
  /** The time limit has passed; `sent` tells whether a byte was written before. */
  | { readonly kind: "timeout"; readonly sent: boolean }
  /**
   * The answer is larger than allowed, its encoding is broken or unknown, it is not HTTP, it switches
   * protocols (101), or too many interim answers came before it.
   */
  | { readonly kind: "unusable" };

/** Sends a request. Never throws for what the network does; redirects are answers, not followed. */
export type UpstreamTransport = (request: UpstreamRequest) => Promise<UpstreamReply>;
