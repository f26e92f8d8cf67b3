/** The version of this program; a test compares it with `package.json`, which no bundle contains. */
export const VERSION = "0.1.0";

/** What this program calls itself towards UponAI and the issuer of session keys. */
export const USER_AGENT = `uponai-bff/${VERSION}`;
