/**
 * The session cookie: its name, its attributes, what is sealed in it, and reading it back.
 * It holds no token and knows no route. RFC 6265bis; the `__Host-` prefix is its section 4.1.3.2.
 */
import { CompactEncrypt, compactDecrypt, errors } from "jose";
import { z } from "zod";

import type { Clock } from "../clock.ts";
import type { Logger } from "../logger.ts";
import type { SessionClaims } from "./session.ts";

/** What a browser sent as cookies. */
export type CookieValue =
  | { readonly kind: "missing" }
  | { readonly kind: "value"; readonly value: string }
  /** Two of that name, or one that only looks like it: somebody else may have set one of them. */
  | { readonly kind: "ambiguous" };

export type OpenedCookie =
  | { readonly kind: "opened"; readonly claims: SessionClaims }
  | { readonly kind: "refused"; readonly code: "session_invalid" | "session_expired" };

export type SealedCookie =
  | { readonly kind: "sealed"; readonly setCookie: string; readonly expiresAtMs: number }
  /** The session's claims do not fit; browsers drop larger cookies without a word. */
  | { readonly kind: "too_large" }
  /** The token has less than a second left, or only the tolerance for clocks that differ. */
  | { readonly kind: "expired" };

export interface SessionCookies {
  /** Reads the one session cookie of a `Cookie` header. */
  read(cookieHeader: string | null): CookieValue;
  open(value: string): Promise<OpenedCookie>;
  /** Makes the `Set-Cookie` of a session; it never outlives the token it was swapped for. */
  seal(claims: SessionClaims): Promise<SealedCookie>;
  /** The `Set-Cookie` that ends it. */
  readonly cleared: string;
}

export interface SessionCookieOptions {
  /** 32-byte keys: the first seals, every one opens. */
  readonly keys: readonly Uint8Array[];
  readonly maxAgeMs: number;
  /** Plain-http development on localhost: no `Secure`, and so no `__Host-`. */
  readonly insecure: boolean;
  readonly clock: Clock;
  readonly log: Logger;
}

/** The least that every browser keeps of one cookie, in bytes (RFC 6265 section 6.1). */
const COOKIE_BYTES_MAX = 4_096;
/** What the other headers of an answer take at most, its status line and the server's included. */
const OTHER_HEADERS_BYTES = 800;
/**
 * A `Set-Cookie` over this, in bytes, makes an answer whose headers do not fit into 4 KiB: nginx reads
 * them into one buffer of that size unless told otherwise, and answers 502.
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
  // By the claim's name, not the variable's: a cookie must not outlive a change of the mapping.
  // Left out where there are none, so that an instance of the version before opens the cookie too.
  claims: z.array(z.tuple([z.string(), z.union([z.string(), z.number(), z.boolean()])])).optional(),
});

export function createSessionCookies(options: SessionCookieOptions): SessionCookies {
  const { keys, clock, log } = options;
  let hasWarned = false;
  /** Once: it is a matter of the issuer's claims and the proxy's settings, not of this one session. */
  const warnOfProxies = (bytes: number) => {
    if (hasWarned || bytes <= PROXY_SAFE_COOKIE_BYTES) return;
    hasWarned = true;
    log.log("warn", LARGE_COOKIE, { bytes, safeBytes: PROXY_SAFE_COOKIE_BYTES });
  };
  const name = options.insecure ? "uponai_session" : "__Host-uponai_session";
  const attributes = `Path=/; HttpOnly;${options.insecure ? "" : " Secure;"} SameSite=Strict`;
  const [sealingKey] = keys;

  return {
    cleared: `${name}=; Max-Age=0; ${attributes}`,
    read: (cookieHeader) => readCookie(cookieHeader, name),
    async open(value) {
      const parsed = sealedClaims.safeParse(await decrypt(value, keys));
      if (!parsed.success) return { kind: "refused", code: "session_invalid" };
      const { sub, key, siblings, iat, exp, end, workspace, chats } = parsed.data;
      // No tolerance: our own clock wrote it.
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
        // An issuer whose clock is ahead must not put the cookie behind a cut-off of now.
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
  "a session cookie is so large that a proxy with 4 KiB for an answer's headers (nginx: proxy_buffer_size) can answer 502 in its place; raise that to 8k, or issue sessions with fewer claims";

/** @returns the JSON under whichever key opens it; undefined under none */
async function decrypt(value: string, keys: readonly Uint8Array[]): Promise<unknown> {
  for (const key of keys) {
    try {
      const { plaintext } = await compactDecrypt(value, key, {
        keyManagementAlgorithms: ["dir"],
        contentEncryptionAlgorithms: ["A256GCM"],
      });
      return JSON.parse(new TextDecoder().decode(plaintext));
    } catch (error) {
      // Another key may have sealed it; anything else is no cookie of ours under any key.
      if (!(error instanceof errors.JWEDecryptionFailed)) return undefined;
    }
  }
  return undefined;
}

/**
 * Browsers send exact names, separated by a semicolon and one space. A name with white space around
 * it (also such as `String.trim` takes away and browsers do not) was set to be taken for ours.
 */
function readCookie(cookieHeader: string | null, name: string): CookieValue {
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
