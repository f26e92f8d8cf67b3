import { expect, test } from "vitest";

import { suggestVariable } from "./suggest-variable.ts";
import { variableNames } from "./variables.ts";

test.each([
  ["SESION_SECRET", "SESSION_SECRET"],
  ["SESSION_SECRETT", "SESSION_SECRET"],
  ["SESSIONSECRET", "SESSION_SECRET"],
  ["SESSION_SECERT", "SESSION_SECRET"],
  ["LIMIT_SESION", "LIMIT_SESSION"],
  ["LIMIT_WORKSPACES", "LIMIT_WORKSPACE"],
  ["WORKSPACE", "WORKSPACES"],
  ["UPONAI_TOKEN_API", undefined],
  ["UPON_AI_WORKSPACE_ID", "UPONAI_WORKSPACE_ID"],
])("%s was meant to be %s", (name, meant) => {
  expect(suggestVariable(name)).toBe(meant);
});

test.each([
  "PATH",
  "HOME",
  "POST",
  "PORTS",
  "HOSTS",
  "HOSTNAME",
  "LANG",
  "SHELL",
  "STATES",
  "PWD",
  "NODE_ENV",
  "NODE_OPTIONS",
  "KUBERNETES_PORT",
  "KUBERNETES_SERVICE_HOST",
  "LOGNAME",
  "TERM",
  "REDIS_HOST",
  "REDIS_PORT",
  "REDIS_PASSWORD",
  "SESSION_MANAGER",
  "XDG_SESSION_ID",
  "",
])("%s belongs to somebody else: nothing is suggested", (name) => {
  expect(suggestVariable(name)).toBeUndefined();
});

test("of several near variables the nearest is suggested", () => {
  // LIMIT_IP and LIMIT_SESSION_DAILY are near to some misspelling of LIMIT_SESSION, never nearer.
  expect(suggestVariable("LIMIT_SESSIO")).toBe("LIMIT_SESSION");
  expect(suggestVariable("LIMIT_SESSION_DAIL")).toBe("LIMIT_SESSION_DAILY");
});

test("a long variable with one letter dropped anywhere is recognised", () => {
  for (const name of variableNames.filter((known) => known.length > 8)) {
    for (let index = 0; index < name.length; index += 1) {
      expect(suggestVariable(name.slice(0, index) + name.slice(index + 1))).toBe(name);
    }
  }
});
