/**
 * Owns the port to the network: one HTTP exchange with the upstream's fixed origin. What matters to
 * the caller is told apart: whether the request can have left this machine, and what came back.
 */

export interface UpstreamRequest {
  readonly method: "GET" | "POST";
  /** Path and query below the fixed origin, already encoded. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Longest time for all of it, connecting included, in milliseconds. */
  readonly timeoutMs: number;
}

export type UpstreamReply =
  | {
      readonly kind: "answer";
      readonly status: number;
      /** The `Retry-After` header as it came. */
      readonly retryAfter: string | undefined;
      /** The `Content-Type` header as it came; absent or undefined where there was none. */
      readonly contentType?: string | undefined;
      /** The whole body, decoded; empty for any status but 200 and 201, whose bodies say nothing. */
      readonly body: string;
    }
  /** Not one byte was written: name, connection or TLS failed. Safe to try again. */
  | { readonly kind: "not_sent"; readonly reason: "connect" | "connect_timeout" }
  /** Written at least in part, then the connection broke: nobody here knows what became of it. */
  | { readonly kind: "lost" }
  /** Over the time limit; `sent` tells whether anything was written before. */
  | { readonly kind: "timeout"; readonly sent: boolean }
  /**
   * The answer is larger than allowed, its encoding is broken or unknown, it is no HTTP, it switches
   * protocols (101), or there are too many interim ones before it.
   */
  | { readonly kind: "unusable" };

/** Never throws for what the network does. Redirects come back as answers; they are not followed. */
export type UpstreamTransport = (request: UpstreamRequest) => Promise<UpstreamReply>;
