/** Implements `uponai-bff token`: signs a session token for development, as a login page would. */
import { createPrivateKey, type KeyObject } from "node:crypto";
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";

import { SignJWT } from "jose";

import { cleanEnvironment } from "../config/clean-environment.ts";
import type { Environment } from "../config/config.ts";
import { parseDuration } from "../config/units.ts";
import { parseVariable } from "../config/variables.ts";
import { resolveSecretFiles } from "../platform/node/environment.ts";
import { type Command, CommandError, UsageError } from "./command.ts";

const DEFAULT_TTL = "1h";

const help = `uponai-bff token: creates a session token for development and prints it.

Usage: uponai-bff token --sub SUBJECT [options]

  --sub SUBJECT         id of the user (required)
  --workspace NAME      value of the workspace claim
  --chats ID,ID         the only chats that the session can use
  --ttl DURATION        lifetime of the token, such as 15m or 8h (default ${DEFAULT_TTL})
  --sid ID              id of the login that the token belongs to
  --private-key FILE    sign with this key (PKCS #8 PEM) instead of SESSION_SECRET
  --kid ID              id of that key, for the token's header

The issuer, the audience and the names of the claims come from the variables of the service:
SESSION_ISSUER, SESSION_AUDIENCE, SESSION_WORKSPACE_CLAIM and SESSION_CHATS_CLAIM.
`;

/** Longest lifetime of a token, in milliseconds: ten years. A longer one is a typing error. */
const TTL_MS_MAX = 315_360_000_000;

export const tokenCommand: Command = {
  summary: "creates a session token for development",
  help,
  async run(args) {
    const { values } = parseArgs({
      args: [...args],
      options: {
        sub: { type: "string" },
        workspace: { type: "string" },
        chats: { type: "string" },
        ttl: { type: "string", default: DEFAULT_TTL },
        sid: { type: "string" },
        "private-key": { type: "string" },
        kid: { type: "string" },
      },
    });
    const { sub, workspace, chats, sid, kid } = values;
    if (sub === undefined || sub === "") throw new UsageError("--sub is required");
    const ttlMs = parseDuration(values.ttl);
    if (ttlMs === undefined || ttlMs < 1_000 || ttlMs > TTL_MS_MAX) {
      throw new UsageError("--ttl must be a duration such as 15m or 8h, from 1s to ten years");
    }
    const files = resolveSecretFiles(process.env);
    const { environment, problems } = cleanEnvironment(files.environment);
    // Problems of other variables do not affect a token.
    const problem = [...files.problems, ...problems].find(({ variable }) =>
      variable.startsWith("SESSION_"),
    );
    if (problem !== undefined) throw new CommandError(`${problem.variable} ${problem.problem}`);
    const issuer = requireVariable(environment, "SESSION_ISSUER");
    const audience = requireVariable(environment, "SESSION_AUDIENCE");
    const workspaceClaim = requireVariable(environment, "SESSION_WORKSPACE_CLAIM");
    const chatsClaim = requireVariable(environment, "SESSION_CHATS_CLAIM");
    const keyFile = values["private-key"];
    const { key, algorithm } =
      keyFile === undefined
        ? {
            key: new TextEncoder().encode(requireVariable(environment, "SESSION_SECRET")),
            algorithm: "HS256",
          }
        : readPrivateKey(keyFile);

    const claims: Record<string, unknown> = {};
    if (workspace !== undefined) claims[workspaceClaim] = workspace;
    if (chats !== undefined) claims[chatsClaim] = chats.split(",");
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

type TokenVariable =
  | "SESSION_SECRET"
  | "SESSION_ISSUER"
  | "SESSION_AUDIENCE"
  | "SESSION_WORKSPACE_CLAIM"
  | "SESSION_CHATS_CLAIM";

/** @throws CommandError where the variable has a wrong value, or neither a value nor a default */
function requireVariable(environment: Environment, name: TokenVariable): string {
  const { value, problems } = parseVariable(name, environment[name]);
  const [problem = "is not set"] = problems;
  if (problems.length > 0 || value === undefined) throw new CommandError(`${name} ${problem}`);
  return value;
}

function readPrivateKey(file: string): { key: KeyObject; algorithm: string } {
  let key: KeyObject;
  try {
    key = createPrivateKey(readFileSync(file));
  } catch {
    throw new CommandError(
      `${file} contains no readable private key (PKCS #8 PEM). Create one with: uponai-bff keys pair`,
    );
  }
  const algorithm = nameAlgorithm(key);
  if (algorithm === undefined)
    throw new CommandError(
      `${file} contains a key of a type that cannot sign tokens. Create one with: uponai-bff keys pair`,
    );
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
