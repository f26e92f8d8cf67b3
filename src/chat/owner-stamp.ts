/**
 * Owns the mark that a started chat bears in its metadata: a keyed hash of its owner, by which the
 * ownership can be rebuilt when the state has lost it. Only who has an API token could forge one,
 * and who has that can read the chat anyway.
 */
import type { Hashing } from "../hashing.ts";
import type { Subject } from "../branded.ts";
import type { Workspace } from "../workspace.ts";

/** The metadata's member; clients may not set it. */
export const OWNER_STAMP = "uponai_bff_owner";

export interface StampedOwner {
  readonly workspace: Workspace;
  readonly subject: Subject;
}

export function createOwnerStamp(hashing: Hashing, owner: StampedOwner): string {
  return stampWith(hashing, owner.workspace.apiTokens[0], owner);
}

/**
 * Whose chat this is by its metadata. Every configured token counts, so that tokens can be rotated;
 * once the one it was stamped with is gone, a chat is somebody else's.
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
