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
  ["UPONAI_TOKEN_API", "UPONAI_API_TOKEN"],
  ["UPONAI_TOKEN", "UPONAI_API_TOKEN"],
  ["UPONAI_API_KEY", "UPONAI_API_TOKEN"],
  ["UPONAI_AGENT", "UPONAI_AGENT_ID"],
  ["UPONAI_WORKSPACE", "UPONAI_WORKSPACE_ID"],
  ["UPONAI_URL", "UPONAI_BASE_URL"],
  ["UPONAI_API_URL", "UPONAI_BASE_URL"],
  ["UPONAI_BASE_URI", "UPONAI_BASE_URL"],
  ["REDIS_URI", "REDIS_URL"],
  ["SESSION_KEY", "SESSION_PUBLIC_KEY"],
  ["COOKIE_KEY", "COOKIE_KEYS"],
  ["LIMIT_DAILY", "LIMIT_SESSION_DAILY"],
  ["OTEL_EXPORTER_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"],
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
  "SESSION_ID",
  "DATABASE_URL",
  "NODE_LOG_LEVEL",
  "OTEL_LOG_LEVEL",
  "OTEL_EXPORTER_OTLP_PROTOCOL",
  "OTEL_RESOURCE_ATTRIBUTES",
  // What Kubernetes sets for the services uponai-bff, uponai-api, redis and admin.
  "UPONAI_BFF_PORT",
  "UPONAI_BFF_SERVICE_HOST",
  "UPONAI_BFF_SERVICE_PORT",
  "UPONAI_BFF_SERVICE_PORT_HTTP",
  "UPONAI_BFF_PORT_8787_TCP",
  "UPONAI_BFF_PORT_8787_TCP_ADDR",
  "UPONAI_API_PORT",
  "UPONAI_API_SERVICE_HOST",
  "UPONAI_API_PORT_80_TCP_PROTO",
  "REDIS_SERVICE_HOST",
  "REDIS_PORT_6379_TCP",
  "ADMIN_SERVICE_HOST",
  "ADMIN_PORT_9464_TCP_PORT",
  "",
])("%s belongs to another program: nothing is suggested", (name) => {
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
