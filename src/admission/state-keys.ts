/**
 * Owns the names of all keys in the state. `docs/state-keys.md` describes them.
 *
 * The braces are a Redis Cluster hash tag: all keys of one admission lie in one slot, without which
 * one script could not touch them all. Names are short because there is a key per active subject.
 */
import type { ChatId, WorkspaceId } from "../branded.ts";
import type { AdmitRequest } from "./admission.ts";
import type { PolicyName } from "./limit-policy.ts";

/** The TAT of a limit, as whole microseconds since the epoch. */
export function limitKey(prefix: string, policy: PolicyName, request: AdmitRequest): string {
  const tag = `${prefix}{ws:${request.workspaceId}}`;
  switch (policy) {
    case "session":
      return `${tag}:s:${request.subjectKey}`;
    case "session-daily":
      return `${tag}:d:${request.subjectKey}`;
    case "workspace":
      return `${tag}:w`;
    case "ip":
      return `${tag}:a:${request.addressKey}`;
    case "auth-failures":
      return authFailuresKey(prefix, request.addressKey);
  }
}

/** The TAT of wrong credentials from one address; belongs to no workspace yet. */
export function authFailuresKey(prefix: string, addressKey: string): string {
  return `${prefix}{af:${addressKey}}`;
}

/** The lock of one chat: its owner's token, a space, and when the lease ends (microseconds). */
export function chatLockKey(prefix: string, workspaceId: WorkspaceId, chatId: ChatId): string {
  return `${prefix}{ws:${workspaceId}}:l:${chatId}`;
}
