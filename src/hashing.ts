/** Owns the shape of the hashes in use; the platform implements them, synchronously. */
export interface Hashing {
  /** SHA-256 of the UTF-8 text, as 43 base64url characters. For cache and state keys. */
  digest(text: string): string;
  /**
   * HMAC-SHA-256 under a key of this deployment, as 16 base64url characters (96 bits). For log
   * fields: without the key nobody can test a guessed subject against the log.
   */
  pseudonym(text: string): string;
  /** HMAC-SHA-256 under a key of the caller's, as 43 base64url characters. */
  keyedDigest(key: string, text: string): string;
}
