/** Owns `uponai-bff token`: a session token for development, as a site's own login would sign it. */
import { createPrivateKey, type KeyObject } from "node:crypto";
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";

import { SignJWT } from "jose";

import { cleanEnvironment } from "../config/clean-environment.ts";
import { parseDuration } from "../config/units.ts";
import { resolveSecretFiles } from "../platform/node/environment.ts";
import { type Command, CommandError, UsageError } from "./usage.ts";

const help = `uponai-bff token: mints a session token for development.

Usage: uponai-bff token --sub SUBJECT [options]

  --sub SUBJECT         the user (required)
  --workspace NAME      the workspace claim
  --chats ID,ID         the chats the session is confined to
  --ttl DURATION        how long it lives, such as 15m or 8h (default 1h)
  --sid ID              the id of the login it belongs to
  --private-key FILE    sign with this key (PKCS #8 PEM) instead of SESSION_SECRET
  --kid ID              name that key in the token's header

Issuer, audience and the names of the claims are taken from SESSION_ISSUER, SESSION_AUDIENCE,
SESSION_WORKSPACE_CLAIM and SESSION_CHATS_CLAIM, as the service reads them.
`;

/** Ten years: a development token that lives longer is a mistake. */
const TTL_MS_MAX = 315_360_000_000;

export const tokenCommand: Command = {
  summary: "mints a session token for development",
  help,
  async run(args) {
    const { values } = parseArgs({
      args: [...args],
      options: {
        sub: { type: "string" },
        workspace: { type: "string" },
        chats: { type: "string" },
        ttl: { type: "string", default: "1h" },
        sid: { type: "string" },
        "private-key": { type: "string" },
        kid: { type: "string" },
      },
    });
    const { sub, workspace, chats, sid, kid } = values;
    if (sub === undefined || sub === "") throw new UsageError("--sub is required");
    const ttlMs = parseDuration(values.ttl);
    if (ttlMs === undefined || ttlMs < 1_000 || ttlMs > TTL_MS_MAX) {
      throw new UsageError("--ttl must be a duration such as 15m or 8h, and at most ten years");
    }
    const files = resolveSecretFiles(process.env);
    const { environment, problems } = cleanEnvironment(files.environment);
    // Only what a token is made of: the service reports the rest.
    const problem = [...files.problems, ...problems].find(({ variable }) =>
      variable.startsWith("SESSION_"),
    );
    if (problem !== undefined) throw new CommandError(`${problem.variable} ${problem.problem}`);
    const issuer = requireVariable(environment, "SESSION_ISSUER");
    const audience = requireVariable(environment, "SESSION_AUDIENCE");
    const keyFile = values["private-key"];
    const { key, algorithm } =
      keyFile === undefined
        ? { key: readSecret(environment), algorithm: "HS256" }
        : readPrivateKey(keyFile);

    const claims: Record<string, unknown> = {};
    if (workspace !== undefined) {
      claims[environment["SESSION_WORKSPACE_CLAIM"] || "workspace"] = workspace;
    }
    if (chats !== undefined) {
      claims[environment["SESSION_CHATS_CLAIM"] || "chats"] = chats.split(",");
    }
    if (sid !== undefined) claims["sid"] = sid;
    return new SignJWT(claims)
      .setProtectedHeader(kid === undefined ? { alg: algorithm } : { alg: algorithm, kid })
      .setIssuer(issuer)
      .setAudience(audience)
      .setSubject(sub)
      .setIssuedAt()
      .setExpirationTime(new Date(Date.now() + ttlMs))
      .sign(key);
  },
};

type Environment = Readonly<Record<string, string | undefined>>;

function requireVariable(environment: Environment, name: string): string {
  const value = environment[name];
  if (value === undefined || value === "") throw new CommandError(`${name} is not set`);
  return value;
}

function readSecret(environment: Environment): Uint8Array {
  const secret = new TextEncoder().encode(requireVariable(environment, "SESSION_SECRET"));
  if (secret.byteLength < 32) throw new CommandError("SESSION_SECRET must be at least 32 bytes");
  return secret;
}

function readPrivateKey(file: string): { key: KeyObject; algorithm: string } {
  let key: KeyObject;
  try {
    key = createPrivateKey(readFileSync(file));
  } catch {
    throw new CommandError(`${file} holds no private key that can be read`);
  }
  const algorithm = nameAlgorithm(key);
  if (algorithm === undefined)
    throw new CommandError(`${file} holds a key that cannot sign tokens`);
  return { key, algorithm };
}

const CURVES: Readonly<Record<string, string>> = {
  prime256v1: "ES256",
  secp384r1: "ES384",
  secp521r1: "ES512",
};

function nameAlgorithm({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject): string | undefined {
  if (asymmetricKeyType === "rsa") return "RS256";
  if (asymmetricKeyType === "ed25519") return "EdDSA";
  return asymmetricKeyType === "ec" ? CURVES[asymmetricKeyDetails?.namedCurve ?? ""] : undefined;
}
