/** The headers that all answers have. */

/**
 * Creates the headers that all answers have.
 *
 * @param insecure true for plain-http development on localhost. `Strict-Transport-Security` is then
 *   left out, because the browser would refuse further http requests.
 */
export function createCommonHeaders(insecure: boolean): Readonly<Record<string, string>> {
  return Object.freeze({
    // An answer belongs to one session: a shared cache must not store it (CVE-2025-48947).
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    // Pages of other origins cannot load an answer as an image or a script (Fetch standard). Pages
    // of allowed origins read answers through CORS.
    "Cross-Origin-Resource-Policy": "same-origin",
    // Two years. Without includeSubDomains: other services may run on the subdomains.
    ...(insecure ? {} : { "Strict-Transport-Security": "max-age=63072000" }),
  });
}
