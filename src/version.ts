/** Version of this program. A test compares it with `package.json`, which is not in the bundles. */
export const VERSION = "0.1.0";

/** `User-Agent` of calls to UponAI and to the issuer of session keys. */
export const USER_AGENT = `uponai-bff/${VERSION}`;
