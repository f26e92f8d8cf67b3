/**
 * Owns the names of all keys in the state. `docs/state-keys.md` describes them.
 *
 * The braces are a Redis Cluster hash tag: all keys of one admission lie in one slot, without which
 * one script could not touch them all. Names are short because there is a key per active subject.
 */
import type { WorkspaceId } from "../branded.ts";
import type { AdmitRequest, ChatUse, SessionRef } from "./admission.ts";
import type { PolicyName } from "./limit-policy.ts";

/** The TAT of a limit, as whole microseconds since the epoch. */
export function limitKey(prefix: string, policy: PolicyName, request: AdmitRequest): string {
  const tag = workspaceTag(prefix, request.workspaceId);
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

/** Written by the readiness probe, and gone after a second. */
export function probeKey(prefix: string): string {
  return `${prefix}{probe}`;
}

/** The TAT of wrong credentials from one address; belongs to no workspace yet. */
export function authFailuresKey(prefix: string, addressKey: string): string {
  return `${prefix}{af:${addressKey}}`;
}

/**
 * What ends sessions: one session's end, one subject's cut-off, everyone's cut-off, in this order.
 * Sessions without a workspace have a slot of their own; no workspace has the id 0.
 */
export function revocationKeys(prefix: string, session: SessionRef): [string, string, string] {
  return [
    `${workspaceTag(prefix, session.workspaceId)}:r:${session.sessionKey}`,
    cutOffKey(prefix, session.workspaceId, session.subjectKey),
    cutOffKey(prefix, session.workspaceId, undefined),
  ];
}

/** The cut-off of one subject, or of everyone: milliseconds since the epoch. */
export function cutOffKey(
  prefix: string,
  workspaceId: WorkspaceId | undefined,
  subjectKey: string | undefined,
): string {
  const tag = workspaceTag(prefix, workspaceId);
  return subjectKey === undefined ? `${tag}:e` : `${tag}:c:${subjectKey}`;
}

function workspaceTag(prefix: string, workspaceId: WorkspaceId | undefined): string {
  return `${prefix}{ws:${workspaceId ?? 0}}`;
}

/** What is kept of one chat, and of one message in it. */
export interface ChatKeys {
  /** Whose it is: how it came to be (`s` started, `f` first use), a space, the subject's key. */
  readonly owner: string;
  /** How many messages were let in, how its transcript stands, and until when that is doubtful. */
  readonly tally: string;
  /** The lock: its holder's token, a space, and when the lease ends. */
  readonly lock: string;
  /** Whose message with these words has an unknown outcome: a key digest or token, `*` several's. */
  readonly doubt: string;
  /** The idempotency key's record. */
  readonly record: string | undefined;
}

export function chatKeys(prefix: string, request: ChatSubject): ChatKeys {
  const { workspaceId, chat } = request;
  const { chatId, message } = chat;
  const tag = workspaceTag(prefix, workspaceId);
  return {
    owner: `${tag}:o:${chatId}`,
    tally: `${tag}:n:${chatId}`,
    lock: `${tag}:l:${chatId}`,
    doubt: `${tag}:q:${chatId}:${message?.fingerprint ?? ""}`,
    record: message?.keyDigest === undefined ? undefined : `${tag}:k:${message.keyDigest}`,
  };
}

/** The part of a request that names keys. */
export interface ChatSubject {
  readonly workspaceId: WorkspaceId;
  readonly chat: Pick<ChatUse, "chatId" | "message">;
}
