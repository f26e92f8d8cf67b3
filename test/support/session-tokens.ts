/** Creates session tokens, signed with a secret of the test run. */
import { randomBytes } from "node:crypto";

import { SignJWT } from "jose";

export const ISSUER = "https://issuer.test/";
export const AUDIENCE = "uponai-bff-tests";

/** A new secret for each run, so that the repository holds none. */
export const sessionSecret = `canary-${randomBytes(48).toString("base64url")}`;

export function mintToken(claims: Record<string, unknown> = {}): Promise<string> {
  const nowSeconds = Math.floor(Date.now() / 1_000);
  const standard = {
    iss: ISSUER,
    aud: AUDIENCE,
    sub: "alice",
    iat: nowSeconds,
    exp: nowSeconds + 3_600,
  };
  return new SignJWT({ ...standard, ...claims })
    .setProtectedHeader({ alg: "HS256" })
    .sign(new TextEncoder().encode(sessionSecret));
}

/** Environment with which a service accepts these tokens; everything else has its default. */
export function sessionEnvironment(): Record<string, string> {
  return { SESSION_SECRET: sessionSecret, SESSION_ISSUER: ISSUER, SESSION_AUDIENCE: AUDIENCE };
}
