/** Owns `uponai-bff keys`: new keys, made here and shown once. */
import { randomBytes } from "node:crypto";
import { parseArgs } from "node:util";

import { calculateJwkThumbprint, exportJWK, exportPKCS8, exportSPKI, generateKeyPair } from "jose";

import { type Command, UsageError } from "./usage.ts";

const help = `uponai-bff keys: makes new keys and prints them.

Usage: uponai-bff keys cookie
       uponai-bff keys pair [--alg ES256]

  cookie         a key for COOKIE_KEYS: 32 random bytes in base64url. To rotate, put the new one
                 first and drop the old one after COOKIE_MAX_AGE.
  pair           a key pair for the issuer of your sessions, as JSON: privateKey (PKCS #8 PEM, for
                 the issuer alone), publicKey (PEM, for SESSION_PUBLIC_KEY) and jwk (for a JWKS).
  --alg NAME     ES256 (default), ES384, RS256, PS256 or EdDSA
`;

const ALGORITHMS: ReadonlySet<string> = new Set(["ES256", "ES384", "RS256", "PS256", "EdDSA"]);
const COOKIE_KEY_BYTES = 32;

export const keysCommand: Command = {
  summary: "makes a cookie key, or a key pair for your sessions' issuer",
  help,
  async run(args) {
    const { values, positionals } = parseArgs({
      args: [...args],
      options: { alg: { type: "string", default: "ES256" } },
      allowPositionals: true,
    });
    const [kind, ...others] = positionals;
    if (others.length > 0) throw new UsageError(`unexpected argument "${others.join(" ")}"`);
    if (kind === "cookie") return randomBytes(COOKIE_KEY_BYTES).toString("base64url");
    if (kind === "pair") return makePair(values.alg);
    throw new UsageError("say which: keys cookie, or keys pair");
  },
};

async function makePair(alg: string): Promise<string> {
  if (!ALGORITHMS.has(alg))
    throw new UsageError(`--alg must be one of ${[...ALGORITHMS].join(", ")}`);
  const pair = await generateKeyPair(alg, { extractable: true });
  const publicJwk = await exportJWK(pair.publicKey);
  const jwk = { ...publicJwk, kid: await calculateJwkThumbprint(publicJwk), alg, use: "sig" };
  const privateKey = await exportPKCS8(pair.privateKey);
  const publicKey = await exportSPKI(pair.publicKey);
  return JSON.stringify({ privateKey, publicKey, jwk }, null, 2);
}
