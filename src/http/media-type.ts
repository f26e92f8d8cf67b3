/** Owns which request bodies are read as JSON. */

// RFC 9110 section 8.3.1: type and parameters are case-insensitive, a parameter may be quoted.
const JSON_MEDIA_TYPE =
  /^application\/json[ \t]*(?:;[ \t]*(?:charset=(?:utf-8|"utf-8"))?[ \t]*)?$/i;

/**
 * True for `application/json`, with `charset=utf-8` at most, and no content encoding: a compressed
 * body could hold far more than was counted while it was read.
 */
export function isPlainJson(contentType: string | null, contentEncoding: string | null): boolean {
  return contentEncoding === null && contentType !== null && JSON_MEDIA_TYPE.test(contentType);
}
