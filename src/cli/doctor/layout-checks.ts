/** Checks cookies and origins: whether browsers send the cookies and proxies accept them. */
import type { Config } from "../../config/config.ts";
import { systemClock } from "../../platform/system.ts";
import { createSessionCookies, PROXY_SAFE_COOKIE_BYTES } from "../../session/session-cookie.ts";
import type { Finding } from "./finding.ts";

const COOKIES = "cookies";
const ORIGINS = "origins";

/** Checks the cookie keys and the allowed origins. */
export function checkLayout({ cookies, insecure, allowedOrigins }: Config): readonly Finding[] {
  const origins = [...allowedOrigins];
  const listed: Finding = {
    check: ORIGINS,
    status: "ok",
    detail:
      origins.length === 0
        ? "only pages of the service's own origin can use it"
        : `pages of ${origins.length} other origin(s) can use the service`,
  };
  if (cookies === undefined) {
    const detail = "COOKIE_KEYS is not set: sessions use bearer tokens only, not cookies";
    return [{ check: COOKIES, status: "ok", detail }, listed];
  }
  const keys = cookies.keys.length;
  const sealed: Finding = {
    check: COOKIES,
    status: "ok",
    detail: `${keys} key(s): ${keys === 1 ? "it encrypts and decrypts" : "the first encrypts, all decrypt"}`,
  };
  return [checkKeys(cookies.keys) ?? sealed, checkOrigins(origins, insecure) ?? listed];
}

/** Length of a typical subject or chat id, a UUID, in characters. */
const ID_CHARS = 36;
const EXAMPLE_ID = "0".repeat(ID_CHARS);
const HOUR_MS = 3_600_000;

/**
 * Encrypts a sample session to measure its cookie, and estimates how many chat ids of a chats claim
 * still fit.
 */
export async function checkCookieSize(config: Config): Promise<readonly Finding[]> {
  if (config.cookies === undefined) return [];
  const cookies = createSessionCookies({
    ...config.cookies,
    insecure: config.insecure,
    basePath: config.basePath,
    clock: systemClock,
    log: { log: () => undefined },
  });
  const nowMs = systemClock.epochMs();
  const sealed = await cookies.seal({
    subject: EXAMPLE_ID,
    sessionKey: "0".repeat(22),
    hasSiblings: false,
    issuedAtMs: nowMs,
    expiresAtMs: nowMs + HOUR_MS,
    tokenExpiresAtMs: nowMs + HOUR_MS,
    workspaceClaim: findLongestClaim(config),
    chats: [],
    variableClaims: new Map(),
  });
  const check = "cookie size";
  const action =
    "Increase the proxy's header buffer (nginx: proxy_buffer_size 8k), or use shorter keys in WORKSPACES.";
  if (sealed.kind !== "sealed" || sealed.setCookie.length > PROXY_SAFE_COOKIE_BYTES) {
    const detail =
      "the cookie of a session with the longest key of WORKSPACES exceeds the header buffer of common proxies";
    return [{ check, status: "warn", detail, action }];
  }
  // Each id has two quotes and a comma, and base64url writes 3 bytes as 4 characters.
  const bytesPerChat = ((ID_CHARS + 3) * 4) / 3;
  const chats = Math.floor((PROXY_SAFE_COOKIE_BYTES - sealed.setCookie.length) / bytesPerChat);
  const detail = `a cookie with up to about ${chats} chat ids fits a proxy's header buffer of 4 KiB (the default of nginx)`;
  return [{ check, status: "ok", detail }];
}

function findLongestClaim({ workspaces }: Config): string | undefined {
  if (workspaces.kind === "single") return undefined;
  return [...workspaces.byClaim.keys()].toSorted((one, other) => other.length - one.length)[0];
}

function checkKeys(keys: readonly Uint8Array[]): Finding | undefined {
  // The chance that 32 random bytes have at most 8 different values is below 2^-100.
  if (!keys.some((key) => new Set(key).size <= 8)) return undefined;
  return {
    check: COOKIES,
    status: "warn",
    detail: "a key of COOKIE_KEYS repeats the same bytes, so that an attacker could guess it",
    action: "Create a new key: uponai-bff keys cookie",
  };
}

function checkOrigins(origins: readonly string[], insecure: boolean): Finding | undefined {
  const sites = new Set(origins.map(siteOf));
  if (sites.size > 1) {
    return {
      check: ORIGINS,
      status: "warn",
      detail:
        "ALLOWED_ORIGINS lists several sites. Session cookies are SameSite=Strict, so pages of a site other than the service's do not send them",
      action:
        "Give the service a host name in the site of each page, or use bearer tokens on those pages.",
    };
  }
  if (!insecure && origins.some((origin) => !origin.startsWith("https:"))) {
    return {
      check: ORIGINS,
      status: "warn",
      detail:
        "ALLOWED_ORIGINS lists an origin that is not https. Browsers do not send the Secure session cookie from its pages",
      action: "Serve those pages over https, or use bearer tokens on them.",
    };
  }
  return undefined;
}

/** Returns the last two labels of the host. Origins with different ones are of different sites. */
function siteOf(origin: string): string {
  const { hostname } = new URL(origin);
  return /^[\d.]+$|^\[/.test(hostname) ? hostname : hostname.split(".").slice(-2).join(".");
}
