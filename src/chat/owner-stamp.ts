/**
 * Creates and checks the owner stamp: a keyed digest of the owner in the metadata of a chat that this
 * service started. It restores the owner after the state has lost it. The key is an API token, so
 * only a holder of the token can forge a stamp, and a holder can read the chat anyway.
 */
import type { Hashing } from "../hashing.ts";
import type { Subject } from "../branded.ts";
import type { Workspace } from "../workspace.ts";

/** Name of the metadata member; clients cannot set it. */
export const OWNER_STAMP = "uponai_bff_owner";

export interface StampedOwner {
  readonly workspace: Workspace;
  readonly subject: Subject;
}

/** Creates the stamp of a chat's owner, with the workspace's first API token. */
export function createOwnerStamp(hashing: Hashing, owner: StampedOwner): string {
  return stampWith(hashing, owner.workspace.apiTokens[0], owner);
}

/**
 * Checks the stamp in a chat's metadata against an owner, with every configured token, so that tokens
 * can be rotated. A stamp of a token that is no longer configured is "foreign".
 */
export function readOwnerStamp(
  hashing: Hashing,
  metadata: Readonly<Record<string, unknown>> | null | undefined,
  owner: StampedOwner,
): "own" | "foreign" | "none" {
  const stamp = metadata?.[OWNER_STAMP];
  if (stamp === undefined || stamp === null) return "none";
  const tokens = owner.workspace.apiTokens;
  return tokens.some((token) => stampWith(hashing, token, owner) === stamp) ? "own" : "foreign";
}

function stampWith(hashing: Hashing, token: string, { workspace, subject }: StampedOwner): string {
  return hashing.keyedDigest(token, `chat owner ${workspace.id} ${subject}`);
}
