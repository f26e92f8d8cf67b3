/**
 * Checks on the head of a request: its target as the client sent it, its ids, its content type.
 */

// A separator, one or two dots, and a separator or the end of the path. `\`, `%2f` and `%5c` count as
// separators: the WHATWG URL parser reads `\` as `/`, and a proxy in front may decode the others.
const DOT_SEGMENT = /(?:^|[/\\]|%2f|%5c)(?:\.|%2e){1,2}(?=$|[/\\]|%2f|%5c)/i;

// The URL parser removes tabs and line breaks anywhere, so that `/.<tab>./` becomes `/../`, and other
// control characters and spaces at the end. So all of them are removed before the match.
const CONTROLS_AND_SPACES = /[\0- ]/g;

/**
 * Tells whether the path of a request target has a `.` or `..` segment, plain or percent-encoded. A
 * URL parser resolves such segments (WHATWG URL section 4.4): `/chat/x/%2e%2e/abc/send` becomes
 * `/chat/abc/send`. A proxy that applies its rules to the first path would then protect the wrong
 * one. The query and the fragment are not checked.
 *
 * @param target the raw request target, in origin form (`/path?query`), absolute form
 *   (`http://host/path`) or any other text
 */
export function hasDotSegments(target: string): boolean {
  // Fast path: most paths have neither character.
  if (!target.includes(".") && !target.includes("%")) return false;
  const end = target.search(/[?#]/);
  const path = end === -1 ? target : target.slice(0, end);
  return DOT_SEGMENT.test(path.replace(CONTROLS_AND_SPACES, ""));
}

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

/** Longest `Content-Type` that is matched, in characters. */
const CONTENT_TYPE_CHARS_MAX = 256;

// RFC 9110 section 8.3.1: type and parameters are case-insensitive, a parameter may be quoted.
// `utf8` is not a registered name, but the Encoding standard maps it to UTF-8 and clients send it.
// No two repetitions of white space are adjacent, so that matching takes linear time (ReDoS).
const JSON_MEDIA_TYPE =
  /^application\/json[ \t]*(?:;[ \t]*(?:charset=(?:utf-?8|"utf-?8")[ \t]*)?)?$/i;

/**
 * Tells whether a body is JSON in UTF-8: `application/json` without parameters or with
 * `charset=utf-8` (or `utf8`). Any content encoding is refused: a compressed body could expand
 * beyond the limit that was applied while it was read.
 *
 * @param contentType the `Content-Type` header, or null
 * @param contentEncoding the `Content-Encoding` header, or null
 */
export function isPlainJson(contentType: string | null, contentEncoding: string | null): boolean {
  if (contentEncoding !== null || contentType === null) return false;
  return contentType.length <= CONTENT_TYPE_CHARS_MAX && JSON_MEDIA_TYPE.test(contentType);
}
