import { describe, expect, test } from "vitest";

import type { Subject, WorkspaceId } from "./branded.ts";
import { parseConfig, type WorkspaceConfig, type WorkspacesConfig } from "./config/config.ts";
import type { Session } from "./session/session.ts";
import { createWorkspaceResolver } from "./workspace.ts";

const perMinute = (quota: number) => ({ quota, windowSeconds: 60, burst: quota });

const entry = (id: number, token: string): WorkspaceConfig => ({
  id: id as WorkspaceId,
  apiTokens: [token],
  agentId: undefined,
  limits: {
    session: perMinute(id),
    sessionDaily: "off",
    workspace: perMinute(600),
    ip: perMinute(120),
    replays: "off",
  },
});

const sessionWith = (workspaceClaim: string | undefined): Session => ({
  subject: "alice" as Subject,
  subjectKey: "key",
  subjectHash: "hash",
  workspaceClaim,
  expiresAtMs: 0,
  tokenExpiresAtMs: 0,
  sessionKey: "session",
  hasSiblings: false,
  issuedAtMs: undefined,
  chats: undefined,
  variableClaims: new Map(),
  variables: {},
  via: "bearer",
});

const table: WorkspacesConfig = {
  kind: "table",
  byClaim: new Map([
    ["acme", entry(42, "acme-token")],
    ["globex", entry(43, "globex-token")],
  ]),
};

describe("a table of workspaces", () => {
  const resolve = createWorkspaceResolver(table);

  test("resolves the workspace of the session's claim, with its token and limits", () => {
    const acme = resolve(sessionWith("acme"));
    const globex = resolve(sessionWith("globex"));
    expect(acme).toMatchObject({ id: 42, apiTokens: ["acme-token"] });
    expect(globex).toMatchObject({ id: 43, apiTokens: ["globex-token"] });
    expect(acme?.policies.map(({ policyItem }) => policyItem)).toEqual([
      '"session";q=42;w=60',
      '"workspace";q=600;w=60',
      '"ip";q=120;w=60',
    ]);
    expect(globex?.policies[0]?.policyItem).toBe('"session";q=43;w=60');
  });

  test.each([
    undefined,
    "",
    "initech",
    "ACME",
    " acme",
    "acme ",
    "42",
    "acme,globex",
    "__proto__",
    "constructor",
    "toString",
    "hasOwnProperty",
  ])("gives none to the claim %j", (claim) => {
    expect(resolve(sessionWith(claim))).toBeUndefined();
  });

  test("compiles each workspace once, not on every request", () => {
    expect(resolve(sessionWith("acme"))).toBe(resolve(sessionWith("acme")));
  });
});

test("a table from JSON finds nothing for names of inherited members", () => {
  const result = parseConfig({
    SESSION_SECRET: "0123456789abcdef0123456789abcdef",
    SESSION_ISSUER: "issuer",
    SESSION_AUDIENCE: "audience",
    UPONAI_API_TOKEN: "token",
    WORKSPACES: '{"acme":42}',
  });
  if (result.kind !== "config") throw new Error(JSON.stringify(result.problems));
  const resolve = createWorkspaceResolver(result.config.workspaces);
  expect(resolve(sessionWith("acme"))?.id).toBe(42);
  for (const claim of ["__proto__", "constructor", "valueOf", ""]) {
    expect(resolve(sessionWith(claim))).toBeUndefined();
  }
});

describe("one workspace for all", () => {
  const resolve = createWorkspaceResolver({ kind: "single", workspace: entry(7, "token") });

  test.each([undefined, "", "acme", "8", "__proto__"])("the claim %j changes nothing", (claim) => {
    expect(resolve(sessionWith(claim))).toMatchObject({ id: 7, apiTokens: ["token"] });
  });
});

test("a limit that is off is no policy at all", () => {
  const off = {
    session: "off",
    sessionDaily: "off",
    workspace: "off",
    ip: "off",
    replays: "off",
  } as const;
  const workspace = { ...entry(7, "token"), limits: off };
  const resolve = createWorkspaceResolver({ kind: "single", workspace });
  expect(resolve(sessionWith(undefined))?.policies).toEqual([]);
});
