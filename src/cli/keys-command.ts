/** Implements `uponai-bff keys`: creates keys and prints them. It stores nothing. */
import { randomBytes } from "node:crypto";
import { parseArgs } from "node:util";

import { calculateJwkThumbprint, exportJWK, exportPKCS8, exportSPKI, generateKeyPair } from "jose";

import { COOKIE_KEY_BYTES } from "../config/variable-schemas.ts";
import { type Command, UsageError } from "./command.ts";

const help = `uponai-bff keys: creates keys and prints them. It does not store them.

Usage: uponai-bff keys cookie
       uponai-bff keys pair [--alg ES256]

  cookie         a key for COOKIE_KEYS: ${COOKIE_KEY_BYTES} random bytes in base64url. To rotate, put the new
                 key first in COOKIE_KEYS, and remove the old one after COOKIE_MAX_AGE.
  pair           a key pair for the issuer of your session tokens, as JSON: privateKey (PKCS #8
                 PEM; only the issuer needs it), publicKey (PEM, for SESSION_PUBLIC_KEY) and jwk
                 (for a JWKS)
  --alg NAME     algorithm of the pair: ES256 (default), ES384, RS256, PS256 or EdDSA
`;

const ALGORITHMS: ReadonlySet<string> = new Set(["ES256", "ES384", "RS256", "PS256", "EdDSA"]);

export const keysCommand: Command = {
  summary: "creates a cookie key, or a key pair for the issuer of your session tokens",
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
    if (kind === "pair") return createPair(values.alg);
    throw new UsageError("name the kind of key: keys cookie, or keys pair");
  },
};

async function createPair(alg: string): Promise<string> {
  if (!ALGORITHMS.has(alg))
    throw new UsageError(`--alg must be one of ${[...ALGORITHMS].join(", ")}`);
  const pair = await generateKeyPair(alg, { extractable: true });
  const publicJwk = await exportJWK(pair.publicKey);
  const jwk = { ...publicJwk, kid: await calculateJwkThumbprint(publicJwk), alg, use: "sig" };
  const privateKey = await exportPKCS8(pair.privateKey);
  const publicKey = await exportSPKI(pair.publicKey);
  return JSON.stringify({ privateKey, publicKey, jwk }, null, 2);
}
