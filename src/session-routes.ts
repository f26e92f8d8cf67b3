/**
 * Owns `/session`: swapping a token for a cookie, who am I, logging out. Whoever calls it has proven
 * the session; whether it was ended meanwhile is asked here.
 */
import type { AdmissionState, SessionRef } from "./admission/admission.ts";
import type { WorkspaceId } from "./branded.ts";
import type { Clock } from "./clock.ts";
import { answer, answerJson, type Exchange } from "./exchange.ts";
import { Problem } from "./problem.ts";
import type { SessionCookies } from "./session/session-cookie.ts";
import type { Session } from "./session/session.ts";
import { CLOCK_TOLERANCE_SECONDS } from "./session/verify-token.ts";
import type { Workspace } from "./workspace.ts";

/** Least time for which an ended login stays ended, in milliseconds: 30 days. */
const LOGIN_MS = 2_592_000_000;

export interface SessionRouteParts {
  readonly state: AdmissionState;
  readonly clock: Clock;
  /** Undefined: no cookie sessions. */
  readonly cookies: SessionCookies | undefined;
  /** Whether the session's claim chooses the workspace; false where one serves all. */
  readonly hasWorkspaceTable: boolean;
  /** Every configured workspace: a login's tokens for any of them end with it. */
  readonly workspaceIds: readonly WorkspaceId[];
}

/** `POST /session`: a cookie for a bearer token. */
export async function exchangeSession(
  parts: SessionRouteParts & { readonly cookies: SessionCookies },
  exchange: Exchange,
  session: Session,
  workspace: Workspace,
): Promise<Response> {
  const { state, cookies } = parts;
  await requireLive(state, session, workspace.id);
  const sealed = await cookies.seal(session);
  if (sealed.kind === "expired") throw new Problem("session_expired");
  if (sealed.kind === "too_large") {
    throw new Problem("content_too_large", {
      detail: "Issue the session with fewer or shorter claims: it does not fit into a cookie.",
    });
  }
  const body = describeSession(parts, session, sealed.expiresAtMs);
  return answerJson(exchange, 201, JSON.stringify(body), { "Set-Cookie": sealed.setCookie });
}

/** `GET /session`: who am I. */
export async function readSession(
  parts: SessionRouteParts,
  exchange: Exchange,
  session: Session,
  workspace: Workspace,
): Promise<Response> {
  await requireLive(parts.state, session, workspace.id);
  const body = {
    ...describeSession(parts, session, session.expiresAtMs),
    via: session.via,
  };
  return answerJson(exchange, 200, JSON.stringify(body));
}

/** `DELETE /session`: ends it on every instance. An ended one may be ended again. */
export async function endSession(
  { state, clock, cookies, workspaceIds }: SessionRouteParts,
  exchange: Exchange,
  session: Session,
  workspaceId: WorkspaceId | undefined,
): Promise<Response> {
  // The token of a cookie can outlive it: its life is what counts, and the cookie's is part of it.
  const tokenMs = session.tokenExpiresAtMs + CLOCK_TOLERANCE_SECONDS * 1_000 - clock.epochMs();
  // A login's other tokens can live longer than the one that asks; how long, none of them tells.
  const forMs = session.hasSiblings ? Math.max(tokenMs, LOGIN_MS) : tokenMs;
  // One token's session is in one workspace; a login with a `sid` can have tokens for all of them.
  const targets = session.hasSiblings ? new Set([workspaceId, ...workspaceIds]) : [workspaceId];
  const ended = await endIn(state, session, [...targets], forMs);
  // The cookie stays: the client needs it to repeat the request, and an end may be written twice.
  if (!ended) throw new Problem("state_unavailable");
  return answer(
    exchange,
    204,
    null,
    cookies === undefined ? {} : { "Set-Cookie": cookies.cleared },
  );
}

/** Workspaces in which a session is ended at once. */
const ENDED_AT_ONCE = 16;

/** Ends a session in several workspaces; false as soon as one end could not be written. */
async function endIn(
  state: AdmissionState,
  session: Session,
  workspaceIds: readonly (WorkspaceId | undefined)[],
  forMs: number,
): Promise<boolean> {
  for (let at = 0; at < workspaceIds.length; at += ENDED_AT_ONCE) {
    const ids = workspaceIds.slice(at, at + ENDED_AT_ONCE);
    const written = await Promise.all(
      ids.map((workspaceId) => state.revokeSession(refer(session, workspaceId), forMs)),
    );
    if (written.includes("unavailable")) return false;
  }
  return true;
}

async function requireLive(
  state: AdmissionState,
  session: Session,
  workspaceId: WorkspaceId,
): Promise<void> {
  const verdict = await state.checkSession(refer(session, workspaceId));
  if (verdict === "unavailable") throw new Problem("state_unavailable");
  if (verdict === "revoked") throw new Problem("session_revoked");
}

function refer(session: Session, workspaceId: WorkspaceId | undefined): SessionRef {
  const { subjectKey, sessionKey, issuedAtMs } = session;
  return { workspaceId, subjectKey, sessionKey, issuedAtMs };
}

/** UponAI's integer workspace id never leaves the server; the session's own claim is its holder's. */
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
