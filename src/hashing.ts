/** Interface of the hash functions in use. The platform implements them; all are synchronous. */
export interface Hashing {
  /** SHA-256 of the UTF-8 text, as 43 base64url characters. For cache and state keys. */
  digest(text: string): string;
  /**
   * HMAC-SHA-256 under a key of this deployment, as 16 base64url characters (96 bits). For log
   * fields: a reader of the log who has no key cannot test whether a guessed subject is in it.
   */
  pseudonym(text: string): string;
  /** HMAC-SHA-256 under the given key, as 43 base64url characters. */
  keyedDigest(key: string, text: string): string;
}
