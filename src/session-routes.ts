/**
 * Handlers of `/session`: exchange a bearer token for a cookie, read the session, end the session.
 * The guard has verified the session before; these handlers check whether it was revoked.
 */
import type { AdmissionState, SessionRef } from "./admission/admission.ts";
import type { WorkspaceId } from "./branded.ts";
import type { Clock } from "./clock.ts";
import { answer, answerJson, type RequestContext } from "./request-context.ts";
import { Problem } from "./problem.ts";
import type { SessionCookies } from "./session/session-cookie.ts";
import type { Session } from "./session/session.ts";
import { CLOCK_TOLERANCE_SECONDS } from "./session/verify-token.ts";
import type { Workspace } from "./workspace.ts";

/** Least time that the revocation of a login is kept, in milliseconds: 30 days. */
const LOGIN_MS = 2_592_000_000;

/**
 * How much longer it is kept than that, in milliseconds: 1 h. A logout that is repeated within this time
 * finds that all of it is written, and writes nothing.
 */
const LOGIN_SLACK_MS = 3_600_000;

/** What the handlers need from the application. */
export interface SessionRouteParts {
  readonly state: AdmissionState;
  readonly clock: Clock;
  /** Undefined if cookie sessions are off. */
  readonly cookies: SessionCookies | undefined;
  /** True if the session's claim selects the workspace; false if all sessions use one workspace. */
  readonly hasWorkspaceTable: boolean;
  /** All configured workspaces. Ending a login ends its tokens in each of them. */
  readonly workspaceIds: readonly WorkspaceId[];
}

/**
 * Handles `POST /session`: seals the session of a bearer token into a cookie.
 *
 * @throws Problem `session_revoked`, `state_unavailable`, `session_expired`, or `content_too_large`
 *   if the claims do not fit into a cookie
 */
export async function exchangeSession(
  parts: SessionRouteParts & { readonly cookies: SessionCookies },
  context: RequestContext,
  session: Session,
  workspace: Workspace,
): Promise<Response> {
  const { state, cookies } = parts;
  await requireNotRevoked(state, session, workspace.id);
  const sealed = await cookies.seal(session);
  if (sealed.kind === "expired") throw new Problem("session_expired");
  if (sealed.kind === "too_large") {
    throw new Problem("content_too_large", {
      detail:
        "Issue the session with fewer or shorter claims, because they do not fit into a cookie.",
    });
  }
  const body = describeSession(parts, session, sealed.expiresAtMs);
  return answerJson(context, 201, JSON.stringify(body), { "Set-Cookie": sealed.setCookie });
}

/**
 * Handles `GET /session`: returns the session of the request.
 *
 * @throws Problem `session_revoked` or `state_unavailable`
 */
export async function readSession(
  parts: SessionRouteParts,
  context: RequestContext,
  session: Session,
  workspace: Workspace,
): Promise<Response> {
  await requireNotRevoked(parts.state, session, workspace.id);
  const body = {
    ...describeSession(parts, session, session.expiresAtMs),
    via: session.via,
  };
  return answerJson(context, 200, JSON.stringify(body));
}

/**
 * Handles `DELETE /session`: revokes the session on every instance. Repeating it is no error.
 *
 * @param workspaceId the workspace of the session; undefined if it is not configured
 * @throws Problem `state_unavailable` if a revocation could not be written
 */
export async function endSession(
  { state, clock, cookies, workspaceIds }: SessionRouteParts,
  context: RequestContext,
  session: Session,
  workspaceId: WorkspaceId | undefined,
): Promise<Response> {
  // The token can outlive the cookie that it was exchanged for, so the token's expiry counts.
  const tokenMs = session.tokenExpiresAtMs + CLOCK_TOLERANCE_SECONDS * 1_000 - clock.epochMs();
  // A session without `sid` is in one workspace. A login with a `sid` can have tokens for all.
  const revoked = session.hasSiblings
    ? await revokeLogin(state, session, { workspaceId, workspaceIds, tokenMs })
    : await revokeInAll(state, session, [workspaceId], tokenMs);
  // The cookie is kept: the client needs it to repeat the request.
  if (!revoked) throw new Problem("state_unavailable");
  return answer(context, 204, null, cookies === undefined ? {} : { "Set-Cookie": cookies.cleared });
}

/**
 * Revokes a login in all workspaces; false if one revocation could not be written. It spends no limit,
 * so repeating it must not cost a write per workspace: the own workspace is written last, and proves
 * that the others are written.
 */
async function revokeLogin(
  state: AdmissionState,
  session: Session,
  {
    workspaceId,
    workspaceIds,
    tokenMs,
  }: Pick<SessionRouteParts, "workspaceIds"> & {
    readonly workspaceId: WorkspaceId | undefined;
    readonly tokenMs: number;
  },
): Promise<boolean> {
  // Other tokens of the same login can expire later than this one, at an unknown time.
  const forMs = Math.max(tokenMs, LOGIN_MS);
  // Not `checkSession`: an operator's order ends the session, too, and proves nothing of the others.
  const ended = await state.isEnded(createSessionRef(session, workspaceId), forMs);
  if (ended !== "not_ended") return ended === "ended";
  const others = new Set<WorkspaceId | undefined>(workspaceIds);
  others.delete(workspaceId);
  return (
    (await revokeInAll(state, session, [...others], forMs + LOGIN_SLACK_MS)) &&
    (await revokeInAll(state, session, [workspaceId], forMs + LOGIN_SLACK_MS))
  );
}

/** Most revocations that are written at the same time. */
const PARALLEL_REVOCATIONS_MAX = 16;

/**
 * Revokes a session in several workspaces; false as soon as one revocation could not be written.
 */
async function revokeInAll(
  state: AdmissionState,
  session: Session,
  workspaceIds: readonly (WorkspaceId | undefined)[],
  forMs: number,
): Promise<boolean> {
  for (let at = 0; at < workspaceIds.length; at += PARALLEL_REVOCATIONS_MAX) {
    const ids = workspaceIds.slice(at, at + PARALLEL_REVOCATIONS_MAX);
    const written = await Promise.all(
      ids.map((workspaceId) => state.revokeSession(createSessionRef(session, workspaceId), forMs)),
    );
    if (written.includes("unavailable")) return false;
  }
  return true;
}

async function requireNotRevoked(
  state: AdmissionState,
  session: Session,
  workspaceId: WorkspaceId,
): Promise<void> {
  const verdict = await state.checkSession(createSessionRef(session, workspaceId));
  if (verdict === "unavailable") throw new Problem("state_unavailable");
  if (verdict === "revoked") throw new Problem("session_revoked");
}

function createSessionRef(session: Session, workspaceId: WorkspaceId | undefined): SessionRef {
  const { subjectKey, sessionKey, issuedAtMs } = session;
  return { workspaceId, subjectKey, sessionKey, issuedAtMs };
}

/** Creates the body of an answer. It holds the workspace claim, never UponAI's workspace id. */
function describeSession(
  { hasWorkspaceTable }: SessionRouteParts,
  { subject, workspaceClaim }: Session,
  expiresAtMs: number,
) {
  const expiresAt = new Date(expiresAtMs).toISOString();
  return hasWorkspaceTable
    ? { subject, workspace: workspaceClaim, expiresAt }
    : { subject, expiresAt };
}
