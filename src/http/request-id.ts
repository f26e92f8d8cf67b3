/** Owns which request ids are ours and which trace contexts travel on. */

/** In characters. Checked before the pattern, so that a long header costs nothing. */
const REQUEST_ID_CHARS_MAX = 64;
const REQUEST_ID = /^[A-Za-z0-9_-]{1,64}$/;

/** Keeps a well-formed `X-Request-Id`, else makes one: a header must not write our log lines. */
export function resolveRequestId(incoming: string | null, createId: () => string): string {
  if (incoming === null || incoming.length > REQUEST_ID_CHARS_MAX) return createId();
  return REQUEST_ID.test(incoming) ? incoming : createId();
}

// W3C Trace Context, section 3.2: version 00, lower-case hex, neither id all zeros.
const TRACEPARENT_CHARS = 55;
const TRACEPARENT = /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/;

/** The incoming `traceparent` when it is valid, to be continued upstream; else nothing. */
export function parseTraceparent(incoming: string | null): string | undefined {
  if (incoming === null || incoming.length !== TRACEPARENT_CHARS) return undefined;
  return TRACEPARENT.test(incoming) ? incoming : undefined;
}
