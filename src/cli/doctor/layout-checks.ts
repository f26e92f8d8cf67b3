/** Checks cookies and origins: layouts in which a browser sends no cookie, or a proxy takes none. */
import type { Config } from "../../config/config.ts";
import { systemClock } from "../../platform/clock.ts";
import { createSessionCookies, PROXY_SAFE_COOKIE_BYTES } from "../../session/session-cookie.ts";
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

/** A subject or chat id as most issuers write it: a UUID, in characters. */
const ID_CHARS = 36;
const EXAMPLE_ID = "0".repeat(ID_CHARS);
const HOUR_MS = 3_600_000;

/** Seals a session as it may come: what a token's chats claim adds is the issuer's. */
export async function checkCookieSize(config: Config): Promise<readonly Finding[]> {
  if (config.cookies === undefined) return [];
  const cookies = createSessionCookies({
    ...config.cookies,
    insecure: config.insecure,
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
    "Raise the proxy's buffer (nginx: proxy_buffer_size 8k), or use shorter keys in WORKSPACES.";
  if (sealed.kind !== "sealed" || sealed.setCookie.length > PROXY_SAFE_COOKIE_BYTES) {
    const detail = "a session of the longest key of WORKSPACES is larger than common proxies take";
    return [{ check, status: "warn", detail, action }];
  }
  // Quotes and a comma, in base64url.
  const bytesPerChat = ((ID_CHARS + 3) * 4) / 3;
  const chats = Math.floor((PROXY_SAFE_COOKIE_BYTES - sealed.setCookie.length) / bytesPerChat);
  const detail = `proxies with 4 KiB for headers (nginx by default) take sessions of up to about ${chats} chat ids`;
  return [{ check, status: "ok", detail }];
}

function findLongestClaim({ workspaces }: Config): string | undefined {
  if (workspaces.kind === "single") return undefined;
  return [...workspaces.byClaim.keys()].toSorted((one, other) => other.length - one.length)[0];
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
