/** The headers that every answer carries. */

/** @param insecure plain-http development; strict transport security would lock the browser out */
export function createCommonHeaders(insecure: boolean): Readonly<Record<string, string>> {
  return Object.freeze({
    // Answers belong to one session: a shared cache must never hold them (CVE-2025-48947).
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    // No page of another site may load an answer as an image, script or the like (Fetch standard);
    // pages of listed origins read answers through CORS.
    "Cross-Origin-Resource-Policy": "same-origin",
    // Two years. Without includeSubDomains: the names below this one are not ours to decide over.
    ...(insecure ? {} : { "Strict-Transport-Security": "max-age=63072000" }),
  });
}
