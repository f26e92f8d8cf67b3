/** Parses the `Idempotency-Key` header (draft-ietf-httpapi-idempotency-key-header). */

// Visible ASCII. If a client sends the draft's quotes, they are part of the key.
const IDEMPOTENCY_KEY_CHARS_MAX = 255;
const IDEMPOTENCY_KEY = /^[\x21-\x7e]{1,255}$/;

/**
 * Parses an idempotency key of 1 to 255 visible ASCII characters.
 *
 * @param header the `Idempotency-Key` header; null if it is absent
 * @returns the key; undefined if the header is absent; null if it is not valid
 */
export function parseIdempotencyKey(header: string | null): string | undefined | null {
  if (header === null) return undefined;
  if (header.length > IDEMPOTENCY_KEY_CHARS_MAX) return null;
  return IDEMPOTENCY_KEY.test(header) ? header : null;
}
