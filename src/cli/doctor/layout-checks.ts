/** Owns what is checked of cookies and origins: layouts in which a browser sends no cookie. */
import type { Config } from "../../config/config.ts";
import type { Finding } from "./finding.ts";

const COOKIES = "cookies";
const ORIGINS = "origins";

export function checkLayout({ cookies, insecure, allowedOrigins }: Config): readonly Finding[] {
  const origins = [...allowedOrigins];
  const listed: Finding = {
    check: ORIGINS,
    status: "ok",
    detail:
      origins.length === 0
        ? "only pages of the service's own origin read its answers"
        : `${origins.length} origin(s) besides the service's own`,
  };
  if (cookies === undefined) {
    const detail = "no cookie sessions (COOKIE_KEYS is not set): bearer tokens alone";
    return [{ check: COOKIES, status: "ok", detail }, listed];
  }
  const keys = cookies.keys.length;
  const sealed: Finding = {
    check: COOKIES,
    status: "ok",
    detail: `${keys} key(s): ${keys === 1 ? "it seals and opens" : "the first seals, every one opens"}`,
  };
  return [checkKeys(cookies.keys) ?? sealed, checkOrigins(origins, insecure) ?? listed];
}

function checkKeys(keys: readonly Uint8Array[]): Finding | undefined {
  // 32 random bytes with 8 values or fewer do not occur.
  if (!keys.some((key) => new Set(key).size <= 8)) return undefined;
  return {
    check: COOKIES,
    status: "warn",
    detail: "a key of COOKIE_KEYS repeats itself: it may be guessed",
    action: "Make a new one: uponai-bff keys cookie",
  };
}

function checkOrigins(origins: readonly string[], insecure: boolean): Finding | undefined {
  const sites = new Set(origins.map(siteOf));
  if (sites.size > 1) {
    return {
      check: ORIGINS,
      status: "warn",
      detail:
        "ALLOWED_ORIGINS has pages of several sites, and cookies are SameSite=Strict: pages of another site than the service's send none",
      action: "Put the service under each page's own site, or use bearer tokens there.",
    };
  }
  if (!insecure && origins.some((origin) => !origin.startsWith("https:"))) {
    return {
      check: ORIGINS,
      status: "warn",
      detail:
        "ALLOWED_ORIGINS has a page that is not https, from where a Secure cookie is not sent",
      action: "Serve the page over https, or use bearer tokens there.",
    };
  }
  return undefined;
}

/** Its last two labels: pages that differ in these are never of one site, whatever the suffix. */
function siteOf(origin: string): string {
  const { hostname } = new URL(origin);
  return /^[\d.]+$|^\[/.test(hostname) ? hostname : hostname.split(".").slice(-2).join(".");
}
