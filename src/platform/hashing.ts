/** Owns the hashes of `Hashing` on platforms with `node:crypto`: Node, and Workers' nodejs_compat. */
import { createHmac, hash } from "node:crypto";

import type { Config } from "../config/config.ts";
import type { Hashing } from "../hashing.ts";

/** 96 bits: no two subjects of one deployment look alike, and log lines stay short. */
const PSEUDONYM_CHARS = 16;

/**
 * The pseudonym's key is derived from the secret that every instance of a deployment has, so that
 * the same subject looks the same in all their logs. It changes when that secret is rotated.
 */
export function createHashing(config: Config): Hashing {
  const { key } = config.session;
  const secret = key.kind === "secret" ? key.secret : firstApiToken(config);
  const pseudonymKey = createHmac("sha256", secret).update("uponai-bff subject in logs").digest();
  return {
    digest: (text) => hash("sha256", text, "base64url"),
    pseudonym: (text) =>
      createHmac("sha256", pseudonymKey).update(text).digest("base64url").slice(0, PSEUDONYM_CHARS),
    keyedDigest: (key, text) => createHmac("sha256", key).update(text).digest("base64url"),
  };
}

function firstApiToken({ workspaces }: Config): string {
  const all =
    workspaces.kind === "single" ? [workspaces.workspace] : [...workspaces.byClaim.values()];
  return all[0]?.apiTokens[0] ?? "";
}
