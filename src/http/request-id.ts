/** Request ids and W3C trace contexts of incoming requests. */

/**
 * Longest request id, in characters. Checked before the pattern, so that a long header is cheap.
 */
const REQUEST_ID_CHARS_MAX = 64;
const REQUEST_ID = /^[A-Za-z0-9_-]{1,64}$/;

/**
 * Resolves the id of a request: a well-formed `X-Request-Id`, else a new id. A malformed one is not
 * kept, because it could forge parts of log lines.
 *
 * @param incoming the header, or null
 * @returns 1 to 64 characters of `[A-Za-z0-9_-]`
 */
export function resolveRequestId(incoming: string | null, createId: () => string): string {
  if (incoming === null || incoming.length > REQUEST_ID_CHARS_MAX) return createId();
  return REQUEST_ID.test(incoming) ? incoming : createId();
}

// W3C Trace Context section 3.2: version 00, lower-case hex, no id of zeros only.
const TRACEPARENT_CHARS = 55;
const TRACEPARENT = /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/;

/** Parses an incoming `traceparent`; undefined if it is absent or malformed. */
export function parseTraceparent(incoming: string | null): string | undefined {
  if (incoming === null || incoming.length !== TRACEPARENT_CHARS) return undefined;
  return TRACEPARENT.test(incoming) ? incoming : undefined;
}
