/**
 * The session cookie: its name and attributes, sealing a session into it, and opening it. The value
 * is a JWE of the session's claims and does not contain the token. RFC 6265bis; section 4.1.3.2
 * defines the `__Host-` prefix.
 */
import { CompactEncrypt, compactDecrypt, errors } from "jose";
import { z } from "zod";

import type { Clock } from "../clock.ts";
import type { Logger } from "../logger.ts";
import type { SessionClaims } from "./session.ts";

/** Result of parsing a `Cookie` header. */
export type CookieValue =
  | { readonly kind: "missing" }
  | { readonly kind: "value"; readonly value: string }
  /** Two cookies of that name, or a padded name: a page of a sibling domain may have set one. */
  | { readonly kind: "ambiguous" };

/** Result of opening a cookie. */
export type OpenedCookie =
  | { readonly kind: "opened"; readonly claims: SessionClaims }
  | { readonly kind: "refused"; readonly code: "session_invalid" | "session_expired" };

/** Result of sealing a session. */
export type SealedCookie =
  | { readonly kind: "sealed"; readonly setCookie: string; readonly expiresAtMs: number }
  /** The session's claims do not fit into one cookie. Browsers silently drop larger cookies. */
  | { readonly kind: "too_large" }
  /** The token expires within a second, or has expired and is only within the clock tolerance. */
  | { readonly kind: "expired" };

/** Seals and opens session cookies. */
export interface SessionCookies {
  /** Parses the value of the session cookie from a `Cookie` header. It is not decrypted. */
  parse(cookieHeader: string | null): CookieValue;
  /** Decrypts the value of a cookie, and validates its content and its expiry. */
  open(value: string): Promise<OpenedCookie>;
  /** Creates the `Set-Cookie` of a session. The cookie never outlives the token of the session. */
  seal(claims: SessionClaims): Promise<SealedCookie>;
  /** The `Set-Cookie` that deletes the cookie. */
  readonly cleared: string;
}

/** What the name of the cookie depends on. */
export interface CookieScope {
  /**
   * True for plain-http development on localhost: no `Secure`, and therefore no prefix of the name.
   */
  readonly insecure: boolean;
  /** Path below which browsers see the service; empty: the whole host. */
  readonly basePath: string;
}

/** Keys, life and mode of session cookies. */
export interface SessionCookieOptions extends CookieScope {
  /** Keys of 32 bytes. The first one seals, all of them open (rotation). */
  readonly keys: readonly Uint8Array[];
  /** Longest life of a cookie, in milliseconds. */
  readonly maxAgeMs: number;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Size that every browser supports for one cookie, in bytes (RFC 6265 section 6.1). */
const COOKIE_BYTES_MAX = 4_096;
/** Most bytes of an answer's status line and its other headers, those of the server included. */
const OTHER_HEADERS_BYTES = 800;
/**
 * Largest `Set-Cookie` that common proxies pass on, in bytes. nginx reads the headers of an answer
 * into one buffer of 4 KiB by default, and answers 502 if they do not fit.
 */
export const PROXY_SAFE_COOKIE_BYTES = 4_096 - OTHER_HEADERS_BYTES;

const sealedClaims = z.strictObject({
  sub: z.string().min(1),
  key: z.string().min(1),
  siblings: z.boolean(),
  iat: z.number().optional(),
  exp: z.number(),
  end: z.number(),
  workspace: z.string().optional(),
  chats: z.array(z.string()).optional(),
  // By the name of the claim, not of the variable: a change of the mapping then applies to cookies
  // that exist already. Absent if empty, so that an instance of the previous version opens the
  // cookie.
  claims: z.array(z.tuple([z.string(), z.union([z.string(), z.number(), z.boolean()])])).optional(),
});

/** Names the session cookie. `__Host-` demands the path `/` (RFC 6265bis section 4.1.3). */
export function nameCookie({ insecure, basePath }: CookieScope): string {
  if (insecure) return "uponai_session";
  return basePath === "" ? "__Host-uponai_session" : "__Secure-uponai_session";
}

/** Creates the session cookies of one process. @throws Error from `seal` if `keys` is empty */
export function createSessionCookies(options: SessionCookieOptions): SessionCookies {
  const { keys, clock, log } = options;
  let hasWarned = false;
  /**
   * Warns once per process: the cause is the issuer's claims or the proxy, not this one session.
   */
  const warnOfProxies = (bytes: number) => {
    if (hasWarned || bytes <= PROXY_SAFE_COOKIE_BYTES) return;
    hasWarned = true;
    log.log("warn", LARGE_COOKIE, { bytes, safeBytes: PROXY_SAFE_COOKIE_BYTES });
  };
  const name = nameCookie(options);
  const secure = options.insecure ? "" : " Secure;";
  const attributes = `Path=${options.basePath || "/"}; HttpOnly;${secure} SameSite=Strict`;
  const [sealingKey] = keys;

  return {
    cleared: `${name}=; Max-Age=0; ${attributes}`,
    parse: (cookieHeader) => parseCookie(cookieHeader, name),
    async open(value) {
      const parsed = sealedClaims.safeParse(await decrypt(value, keys));
      if (!parsed.success) return { kind: "refused", code: "session_invalid" };
      const { sub, key, siblings, iat, exp, end, workspace, chats } = parsed.data;
      // Without clock tolerance: this service set the expiry.
      if (clock.epochMs() >= exp) return { kind: "refused", code: "session_expired" };
      const claims: SessionClaims = {
        subject: sub,
        sessionKey: key,
        hasSiblings: siblings,
        issuedAtMs: iat,
        expiresAtMs: exp,
        tokenExpiresAtMs: end,
        workspaceClaim: workspace,
        chats,
        variableClaims: new Map(parsed.data.claims),
      };
      return { kind: "opened", claims };
    },
    async seal(claims) {
      if (sealingKey === undefined) throw new Error("cookies need a key");
      const { subject, sessionKey, issuedAtMs, tokenExpiresAtMs, workspaceClaim, chats } = claims;
      const variableClaims = [...claims.variableClaims];
      const exp = Math.min(claims.expiresAtMs, clock.epochMs() + options.maxAgeMs);
      const maxAgeSeconds = Math.floor((exp - clock.epochMs()) / 1_000);
      if (maxAgeSeconds < 1) return { kind: "expired" };
      const payload: z.input<typeof sealedClaims> = {
        sub: subject,
        key: sessionKey,
        siblings: claims.hasSiblings,
        // The clock of the issuer can be ahead. With a later `iat`, an operator's order to end all
        // sessions issued until now would not end this cookie.
        iat: issuedAtMs === undefined ? undefined : Math.min(issuedAtMs, clock.epochMs()),
        exp,
        end: tokenExpiresAtMs,
        workspace: workspaceClaim,
        chats: chats === undefined ? undefined : [...chats],
        claims: variableClaims.length === 0 ? undefined : variableClaims,
      };
      const value = await new CompactEncrypt(new TextEncoder().encode(JSON.stringify(payload)))
        .setProtectedHeader({ alg: "dir", enc: "A256GCM" })
        .encrypt(sealingKey);
      const setCookie = `${name}=${value}; Max-Age=${maxAgeSeconds}; ${attributes}`;
      if (setCookie.length >= COOKIE_BYTES_MAX) return { kind: "too_large" };
      warnOfProxies(setCookie.length);
      return { kind: "sealed", setCookie, expiresAtMs: exp };
    },
  };
}

const LARGE_COOKIE =
  "a session cookie does not fit into the 4 KiB that some proxies allow for the headers of an answer (nginx: proxy_buffer_size), which then answer 502; set it to 8k, or issue sessions with fewer claims";

/** Decrypts with each key in turn and parses the JSON; undefined if no key fits. */
async function decrypt(value: string, keys: readonly Uint8Array[]): Promise<unknown> {
  for (const key of keys) {
    try {
      const { plaintext } = await compactDecrypt(value, key, {
        keyManagementAlgorithms: ["dir"],
        contentEncryptionAlgorithms: ["A256GCM"],
      });
      return JSON.parse(new TextDecoder().decode(plaintext));
    } catch (error) {
      // Another key may have sealed it. After any other error, no key can open the value.
      if (!(error instanceof errors.JWEDecryptionFailed)) return undefined;
    }
  }
  return undefined;
}

/**
 * Parses the cookie of the given name. Browsers send exact names, separated by a semicolon and one
 * space. A name padded with white space (also such as only `String.trim` removes) is an attack:
 * another parser could take it for the real cookie, which a sibling domain cannot set.
 */
function parseCookie(cookieHeader: string | null, name: string): CookieValue {
  if (cookieHeader === null) return { kind: "missing" };
  const found: string[] = [];
  for (const [index, pair] of cookieHeader.split(";").entries()) {
    const equals = pair.indexOf("=");
    if (equals === -1) continue;
    const written = pair.slice(index > 0 && pair.startsWith(" ") ? 1 : 0, equals);
    if (written.trim() !== name) continue;
    if (written !== name) return { kind: "ambiguous" };
    found.push(pair.slice(equals + 1));
  }
  const [value, ...others] = found;
  if (value === undefined) return { kind: "missing" };
  return others.length > 0 ? { kind: "ambiguous" } : { kind: "value", value };
}
