/**
 * The two checks of a request's origin: whether it may use a session cookie (CSRF: OWASP cheat
 * sheet, Fetch Metadata), and whether a page of that origin may read the answer (CORS: Fetch
 * standard).
 */

/** Origins that are allowed. */
export interface OriginRules {
  /** Exact origins whose pages may send requests with credentials and read the answers. */
  readonly allowedOrigins: ReadonlySet<string>;
  /** True if the own origin is plain http, as in development on localhost. */
  readonly insecure: boolean;
}

/** The headers that tell the origin of a request; null if absent. */
export interface RequestOrigin {
  readonly secFetchSite: string | null;
  readonly origin: string | null;
  readonly host: string | null;
}

/**
 * Tells whether a request may use a session cookie. `Sec-Fetch-Site` decides if it is present,
 * because a page cannot forge it. `same-site` is not trusted: a sibling subdomain can belong to
 * another party. Without it (old browsers), `Origin` decides. With neither header the request is
 * not trusted.
 */
export function isTrustedSource(request: RequestOrigin, rules: OriginRules): boolean {
  const { secFetchSite, origin, host } = request;
  if (secFetchSite === "same-origin") return true;
  if (origin === null) return false;
  if (rules.allowedOrigins.has(origin)) return true;
  if (secFetchSite !== null || host === null) return false;
  return origin === resolveOwnOrigin(host, rules.insecure);
}

/** Longest `Host` header that is parsed, in characters: a name of 253 and a port. */
const HOST_CHARS_MAX = 260;

/**
 * Resolves the origin that a browser sends for a page of this host. The browser writes names in
 * lower case, omits the default port and shortens IPv6 addresses (WHATWG URL section 4.7). A `Host`
 * header need not, so it is normalized here.
 *
 * @returns undefined if the header holds more than a host and a port
 */
function resolveOwnOrigin(host: string, insecure: boolean): string | undefined {
  // The pattern keeps a user, a path and a query from the URL parser.
  if (host.length > HOST_CHARS_MAX || !/^[\w.:[\]-]+$/.test(host)) return undefined;
  const url = `${insecure ? "http" : "https"}://${host}/`;
  return URL.canParse(url) ? new URL(url).origin : undefined;
}

/** Headers that a script may read, in addition to the CORS-safelisted ones. */
const EXPOSED_HEADERS =
  "X-Request-Id, Retry-After, RateLimit, RateLimit-Policy, Idempotency-Replayed, Message-Recovered, Preference-Applied, Location";

/**
 * Headers that a script may set. Tracing libraries add the last four to each request; without them
 * in this list the browser would refuse to send it. Only a valid `traceparent` is used. The other
 * three are ignored.
 */
const REQUEST_HEADERS =
  "Authorization, Content-Type, Idempotency-Key, Prefer, X-Request-Id, traceparent, tracestate, baggage, sentry-trace";

/** How long a browser may cache a preflight, in seconds. Chromium caps it at 2 hours. */
const PREFLIGHT_SECONDS = "7200";

/**
 * Creates the CORS headers of an answer. Errors have them too, so that a page can read a 429.
 *
 * @param origin the `Origin` header, or null
 */
export function createCorsHeaders(
  origin: string | null,
  allowedOrigins: ReadonlySet<string>,
): Readonly<Record<string, string>> {
  if (allowedOrigins.size === 0) return {};
  // Also without an allowed origin: the headers of the answer depend on `Origin` (RFC 9110 section
  // 12.5.5).
  if (origin === null || !allowedOrigins.has(origin)) return { Vary: "Origin" };
  return {
    "Access-Control-Allow-Origin": origin,
    "Access-Control-Allow-Credentials": "true",
    "Access-Control-Expose-Headers": EXPOSED_HEADERS,
    Vary: "Origin",
  };
}

/**
 * Creates the further headers of a preflight answer. Empty for an origin that is not allowed.
 *
 * @param methods value of `Access-Control-Allow-Methods`
 */
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
