/** Creates the sessions of the benchmark: their secret, claims and tokens. */
import { createHmac } from "node:crypto";

/** At least 32 bytes, as HS256 requires. It protects nothing of value. */
export const SECRET = "benchmark-secret-that-guards-nothing-at-all";
export const ISSUER = "https://issuer.example/";
export const AUDIENCE = "uponai-bff";
/** Origin of the page that sends the messages. */
export const ORIGIN = "https://app.example";
/** Workspace ids by value of the workspace claim. */
export const WORKSPACES: Readonly<Record<string, number>> = { acme: 42, globex: 43, initech: 44 };
/** Longer than any run, so that no token expires. */
const LIFETIME_SECONDS = 3_600;

export interface Session {
  readonly token: string;
  readonly chatId: string;
  readonly workspaceId: number;
}

/**
 * Creates the session of a number. Every number has its own subject and chat.
 *
 * @param claim value of its workspace claim; default: one of `WORKSPACES`
 */
export function createSession(number: number, claim?: string): Session {
  const names = Object.keys(WORKSPACES);
  const workspace = claim ?? names[number % names.length] ?? "";
  const nowSeconds = Math.floor(Date.now() / 1_000);
  const claims = {
    iss: ISSUER,
    aud: AUDIENCE,
    sub: `user-${number}@${workspace}.example`,
    sid: `sid_${String(number).padStart(12, "0")}`,
    workspace,
    iat: nowSeconds,
    exp: nowSeconds + LIFETIME_SECONDS,
  };
  const signed = `${encode({ alg: "HS256", typ: "JWT" })}.${encode(claims)}`;
  const signature = createHmac("sha256", SECRET).update(signed).digest("base64url");
  return {
    token: `${signed}.${signature}`,
    chatId: `chat_${String(number).padStart(20, "0")}`,
    workspaceId: WORKSPACES[workspace] ?? 0,
  };
}

function encode(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString("base64url");
}
