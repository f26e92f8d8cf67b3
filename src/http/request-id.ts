/** Owns which request ids are ours and which trace contexts travel on. */

const REQUEST_ID = /^[A-Za-z0-9_-]{1,64}$/;

/** Keeps a well-formed `X-Request-Id`, else makes one: a header must not write our log lines. */
export function resolveRequestId(incoming: string | null, createId: () => string): string {
  return incoming !== null && REQUEST_ID.test(incoming) ? incoming : createId();
}

// W3C Trace Context, section 3.2: version 00, lower-case hex, neither id all zeros.
const TRACEPARENT = /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/;

/** The incoming `traceparent` when it is valid, to be continued upstream; else nothing. */
export function parseTraceparent(incoming: string | null): string | undefined {
  return incoming !== null && TRACEPARENT.test(incoming) ? incoming : undefined;
}
