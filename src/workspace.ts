/** Resolves the workspace of a session. Its messages go to that UponAI workspace only. */
import type { WorkspaceConfig, WorkspacesConfig } from "./config/config.ts";
import {
  compilePolicies,
  compileReplayPolicies,
  type LimitPolicies,
  type ReplayPolicies,
} from "./admission/limit-policy.ts";
import type { WorkspaceId } from "./branded.ts";
import type { Session } from "./session/session.ts";

/** A configured workspace with its compiled limits. */
export interface Workspace {
  readonly id: WorkspaceId;
  /** UponAI API tokens: the next one is tried when UponAI refuses one. */
  readonly apiTokens: readonly [string, ...string[]];
  readonly policies: LimitPolicies;
  /** Limits on stored answers that are given again; undefined if they are off. */
  readonly replays: ReplayPolicies | undefined;
  /** Agent that new chats are started with; undefined if `POST /chat` is off. */
  readonly agentId: string | undefined;
}

/** Resolves the workspace of a session; undefined if the operator has not configured it. */
export type ResolveWorkspace = (session: Session) => Workspace | undefined;

/**
 * Creates the resolver. Limits are compiled once. Only the verified session claim and the
 * configuration select the workspace, never anything else that the client sends.
 */
export function createWorkspaceResolver(config: WorkspacesConfig): ResolveWorkspace {
  if (config.kind === "single") {
    const only = compile(config.workspace);
    return () => only;
  }
  const byClaim = new Map([...config.byClaim].map(([claim, entry]) => [claim, compile(entry)]));
  return ({ workspaceClaim }) =>
    workspaceClaim === undefined ? undefined : byClaim.get(workspaceClaim);
}

/** Lists the ids of all configured workspaces, each once. */
export function listWorkspaceIds(config: WorkspacesConfig): WorkspaceId[] {
  const all = config.kind === "single" ? [config.workspace] : [...config.byClaim.values()];
  return [...new Set(all.map(({ id }) => id))];
}

function compile({ id, apiTokens, limits, agentId }: WorkspaceConfig): Workspace {
  const replays = compileReplayPolicies(limits.replays);
  return { id, apiTokens, policies: compilePolicies(limits), replays, agentId };
}
