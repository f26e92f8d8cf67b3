/**
 * The clock and the hash functions of the machine: the same on Node and on Workers, which have
 * `node:crypto` by the flag `nodejs_compat`.
 */
import { createHmac, hash } from "node:crypto";

import type { Clock } from "../clock.ts";
import type { Config } from "../config/config.ts";
import type { Hashing } from "../hashing.ts";

export const systemClock: Clock = {
  epochMs: () => Date.now(),
  monotonicMs: () => performance.now(),
};

/** 96 bits: two subjects of a deployment do not collide, and log lines stay short. */
const PSEUDONYM_CHARS = 16;

/**
 * Creates the hash functions of a deployment.
 *
 * The key of the pseudonyms is derived from a secret that all instances of a deployment share
 * (`SESSION_SECRET`, otherwise the first API token). So a subject has the same pseudonym in all
 * their logs, until that secret is rotated.
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
