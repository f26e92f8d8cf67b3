/** Owns the way from a session to the one workspace that its messages go to. */
import type { WorkspaceConfig, WorkspacesConfig } from "./config/config.ts";
import {
  compilePolicies,
  compileReplayPolicies,
  type LimitPolicies,
  type ReplayPolicies,
} from "./admission/limit-policy.ts";
import type { WorkspaceId } from "./branded.ts";
import type { Session } from "./session/session.ts";

export interface Workspace {
  readonly id: WorkspaceId;
  readonly apiTokens: readonly [string, ...string[]];
  readonly policies: LimitPolicies;
  /** Limit on stored answers given again; undefined: off. */
  readonly replays: ReplayPolicies | undefined;
  /** The agent that chats are started with; undefined: none are started. */
  readonly agentId: string | undefined;
}

/** The workspace of a session, or undefined when the operator has listed none for it. */
export type ResolveWorkspace = (session: Session) => Workspace | undefined;

/** Compiles every workspace once at start. The client has no say in which one it gets. */
export function createWorkspaceResolver(config: WorkspacesConfig): ResolveWorkspace {
  if (config.kind === "single") {
    const only = compile(config.workspace);
    return () => only;
  }
  const byClaim = new Map([...config.byClaim].map(([claim, entry]) => [claim, compile(entry)]));
  return ({ workspaceClaim }) =>
    workspaceClaim === undefined ? undefined : byClaim.get(workspaceClaim);
}

/** Ids of all configured workspaces, each once. */
export function listWorkspaceIds(config: WorkspacesConfig): WorkspaceId[] {
  const all = config.kind === "single" ? [config.workspace] : [...config.byClaim.values()];
  return [...new Set(all.map(({ id }) => id))];
}

function compile({ id, apiTokens, limits, agentId }: WorkspaceConfig): Workspace {
  const replays = compileReplayPolicies(limits.replays);
  return { id, apiTokens, policies: compilePolicies(limits), replays, agentId };
}
