/** Owns what an idempotency key may look like (draft-ietf-httpapi-idempotency-key-header). */

// Visible ASCII. The draft's quotes, where a client sends them, are part of the key.
const IDEMPOTENCY_KEY_CHARS_MAX = 255;
const IDEMPOTENCY_KEY = /^[\x21-\x7e]{1,255}$/;

/**
 * @param header the `Idempotency-Key` header, or null
 * @returns the key, undefined where there is none, null where it is not valid
 */
export function parseIdempotencyKey(header: string | null): string | undefined | null {
  if (header === null) return undefined;
  if (header.length > IDEMPOTENCY_KEY_CHARS_MAX) return null;
  return IDEMPOTENCY_KEY.test(header) ? header : null;
}
