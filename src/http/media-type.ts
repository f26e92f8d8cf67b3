/** Decides which request bodies are read as JSON. */

/** Longest `Content-Type` that is read, in characters; every accepted one has fewer than 64. */
const CONTENT_TYPE_CHARS_MAX = 256;

// RFC 9110 section 8.3.1: type and parameters are case-insensitive, a parameter may be quoted.
// `utf8` is not a registered name, but the Encoding standard reads it as UTF-8 and clients send it.
// No two repetitions of white space touch each other, so a long run of it takes linear time.
const JSON_MEDIA_TYPE =
  /^application\/json[ \t]*(?:;[ \t]*(?:charset=(?:utf-?8|"utf-?8")[ \t]*)?)?$/i;

/**
 * True for `application/json`, with `charset=utf-8` (or `utf8`) at most, and no content encoding: a
 * compressed body could hold far more than was counted while it was read.
 */
export function isPlainJson(contentType: string | null, contentEncoding: string | null): boolean {
  if (contentEncoding !== null || contentType === null) return false;
  return contentType.length <= CONTENT_TYPE_CHARS_MAX && JSON_MEDIA_TYPE.test(contentType);
}
