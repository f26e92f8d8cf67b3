/** Validates the content type of JSON request bodies. */

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
