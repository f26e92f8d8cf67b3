/**
 * Owns two questions about where a request comes from: may it act with a cookie (OWASP CSRF cheat
 * sheet, Fetch Metadata), and may a page of its origin read the answer (Fetch standard, CORS).
 */

export interface OriginRules {
  /** Exact origins whose pages may send and read with credentials. */
  readonly allowedOrigins: ReadonlySet<string>;
  /** Whether our own origin is plain http, as on localhost in development. */
  readonly insecure: boolean;
}

/** Headers that say where a request comes from. */
export interface RequestOrigin {
  readonly secFetchSite: string | null;
  readonly origin: string | null;
  readonly host: string | null;
}

/**
 * Whether a request that changes something may do so with a cookie. `Sec-Fetch-Site` decides where
 * it is sent: a page cannot forge it. `same-site` is foreign too: a sibling subdomain can be
 * somebody else's. Without it, as from old browsers, `Origin` decides; with neither, nobody does.
 */
export function isTrustedSource(request: RequestOrigin, rules: OriginRules): boolean {
  const { secFetchSite, origin, host } = request;
  if (secFetchSite === "same-origin") return true;
  if (origin === null) return false;
  if (rules.allowedOrigins.has(origin)) return true;
  if (secFetchSite !== null || host === null) return false;
  return origin === readOwnOrigin(host, rules.insecure);
}

/** Longest `Host` that is read, in characters: a name of 253 and a port. */
const HOST_CHARS_MAX = 260;

/**
 * The origin that a browser names for a page of this host. It writes names in lower case, leaves out
 * the scheme's own port, and shortens IPv6 addresses (WHATWG URL section 4.7); `Host` may do neither.
 *
 * @returns undefined where the header holds more than a host and a port
 */
function readOwnOrigin(host: string, insecure: boolean): string | undefined {
  // The URL parser reads more than a host: no user, path or query may get there.
  if (host.length > HOST_CHARS_MAX || !/^[\w.:[\]-]+$/.test(host)) return undefined;
  const url = `${insecure ? "http" : "https"}://${host}/`;
  return URL.canParse(url) ? new URL(url).origin : undefined;
}

/** The headers that a page's script may read besides the few that it always may. */
const EXPOSED_HEADERS =
  "X-Request-Id, Retry-After, RateLimit, RateLimit-Policy, Idempotency-Replayed, Message-Recovered, Location";

/**
 * The headers that a page's script may set. Tracing libraries in a page add the last four to every
 * request of theirs: without them here the browser would refuse to send it. Only a valid
 * `traceparent` is used; the others are accepted and go no further.
 */
const REQUEST_HEADERS =
  "Authorization, Content-Type, Idempotency-Key, X-Request-Id, traceparent, tracestate, baggage, sentry-trace";

/** How long a browser may remember a preflight, in seconds: 2 h is the most that Chromium does. */
const PREFLIGHT_SECONDS = "7200";

/** CORS headers of an answer: on errors too, so that a page can read a 429. */
export function createCorsHeaders(
  origin: string | null,
  allowedOrigins: ReadonlySet<string>,
): Readonly<Record<string, string>> {
  if (allowedOrigins.size === 0) return {};
  // Whoever asks, the answer depends on it.
  if (origin === null || !allowedOrigins.has(origin)) return { Vary: "Origin" };
  return {
    "Access-Control-Allow-Origin": origin,
    "Access-Control-Allow-Credentials": "true",
    "Access-Control-Expose-Headers": EXPOSED_HEADERS,
    Vary: "Origin",
  };
}

/** What a preflight is told beyond that; nothing to an origin that is not listed. */
export function createPreflightHeaders(
  origin: string,
  allowedOrigins: ReadonlySet<string>,
  methods: string,
): Readonly<Record<string, string>> {
  if (!allowedOrigins.has(origin)) return {};
  return {
    "Access-Control-Allow-Methods": methods,
    "Access-Control-Allow-Headers": REQUEST_HEADERS,
    "Access-Control-Max-Age": PREFLIGHT_SECONDS,
  };
}
