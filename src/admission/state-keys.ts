/**
 * Names of all keys in the state. `docs/state-keys.md` describes them.
 *
 * The braces are a Redis Cluster hash tag: all keys of one admission lie in one slot, without which
 * one script could not touch them all. Names are short because there is a key per active subject.
 */
import type { ChatId, WorkspaceId } from "../branded.ts";
import type { SessionRef } from "./admission.ts";

/** Written by the readiness probe, and gone after a second. */
export function probeKey(prefix: string): string {
  return `${prefix}{probe}`;
}

/** The limit on wrong credentials from one address; belongs to no workspace yet. */
export function authFailuresKey(prefix: string, addressKey: string): string {
  return `${prefix}{af:${addressKey}}`;
}

/** The end of one session, the subject's record and the workspace's: what can refuse a session. */
export interface SessionKeys {
  readonly session: string;
  readonly subject: string;
  readonly workspace: string;
}

/** Sessions without a workspace have a slot of their own; no workspace has the id 0. */
export function sessionKeys(
  prefix: string,
  { workspaceId, sessionKey, subjectKey }: Omit<SessionRef, "issuedAtMs">,
): SessionKeys {
  const tag = workspaceTag(prefix, workspaceId);
  return {
    session: `${tag}:r:${sessionKey}`,
    subject: subjectRecordKey(prefix, workspaceId, subjectKey),
    workspace: workspaceRecordKey(prefix, workspaceId),
  };
}

/** One subject's limits, byte budget and cut-off. */
export function subjectRecordKey(
  prefix: string,
  workspaceId: WorkspaceId | undefined,
  subjectKey: string,
): string {
  return `${workspaceTag(prefix, workspaceId)}:u:${subjectKey}`;
}

/** A workspace's limit, byte budget and cut-off. */
export function workspaceRecordKey(prefix: string, workspaceId: WorkspaceId | undefined): string {
  // The digit keeps it apart from the keys of the version before, which were written otherwise.
  return `${workspaceTag(prefix, workspaceId)}:w2`;
}

/** The limit of one client address in a workspace. */
export function addressKey(prefix: string, workspaceId: WorkspaceId, address: string): string {
  return `${workspaceTag(prefix, workspaceId)}:a:${address}`;
}

/** Everything that is kept of one chat. */
export function chatKey(prefix: string, workspaceId: WorkspaceId, chatId: ChatId): string {
  return `${workspaceTag(prefix, workspaceId)}:c2:${chatId}`;
}

/** One idempotency key. */
export function idempotencyKey(
  prefix: string,
  workspaceId: WorkspaceId,
  keyDigest: string,
): string {
  return `${workspaceTag(prefix, workspaceId)}:k:${keyDigest}`;
}

function workspaceTag(prefix: string, workspaceId: WorkspaceId | undefined): string {
  return `${prefix}{ws:${workspaceId ?? 0}}`;
}
