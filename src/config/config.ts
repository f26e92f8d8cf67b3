/**
 * Parses the environment variables to a frozen `Config`, or returns every problem at once. It opens
 * no file and no connection.
 */
import type { WorkspaceId } from "../branded.ts";
import type { LogLevel } from "../logger.ts";
import { cleanEnvironment } from "./clean-environment.ts";
import type { RedisAddress } from "./redis-url.ts";
import { suggestVariable } from "./suggest-variable.ts";
import type { QuotaSetting } from "./units.ts";
import {
  DIRECT_CONNECTIONS_PER_ADDRESS_MAX,
  isVariableName,
  parseVariable,
  variableNames,
  type VariableName,
  variables,
  type VariableValues,
} from "./variables.ts";
import type { WorkspaceEntry } from "./workspace-table.ts";

/** One workspace with its own settings and the defaults. */
export interface WorkspaceConfig {
  readonly id: WorkspaceId;
  /** API tokens for this workspace, the preferred one first; never empty. */
  readonly apiTokens: readonly [string, ...string[]];
  /** The agent of the chats that `POST /chat` starts; undefined: none can be started. */
  readonly agentId: string | undefined;
  readonly limits: {
    readonly session: QuotaSetting;
    readonly sessionDaily: QuotaSetting;
    readonly workspace: QuotaSetting;
    readonly ip: QuotaSetting;
    readonly replays: QuotaSetting;
  };
}

/** Either all sessions use one workspace, or the workspace claim selects one from a table. */
export type WorkspacesConfig =
  | { readonly kind: "single"; readonly workspace: WorkspaceConfig }
  | { readonly kind: "table"; readonly byClaim: ReadonlyMap<string, WorkspaceConfig> };

/** The key that verifies session tokens. Its kind decides which algorithms are allowed. */
export type SessionKeyConfig =
  | { readonly kind: "secret"; readonly secret: string }
  | { readonly kind: "public"; readonly publicKey: string }
  | { readonly kind: "jwks"; readonly url: string };

export interface Config {
  readonly listen: { readonly host: string; readonly port: number };
  /** Path before all routes as browsers see it; empty: none. */
  readonly basePath: string;
  /** Path before all routes as the service gets it: none if a proxy removes it. */
  readonly routePrefix: string;
  /** The listener for operators. Undefined: no such listener and no metrics. */
  readonly admin: { readonly host: string; readonly port: number } | undefined;
  /** Limits per listener. */
  readonly connections: {
    readonly max: number;
    /** Undefined: no limit. */
    readonly perAddressMax: number | undefined;
    readonly keepAliveMs: number;
  };
  readonly session: {
    readonly key: SessionKeyConfig;
    readonly issuer: string;
    readonly audience: string;
    readonly workspaceClaim: string;
    readonly chatsClaim: string;
    /** Key: a dynamic variable; value: the claim that sets it. */
    readonly variables: ReadonlyMap<string, string>;
  };
  /** Undefined: no cookie sessions. */
  readonly cookies: { readonly keys: readonly Uint8Array[]; readonly maxAgeMs: number } | undefined;
  /** Whether cookies work over plain http, for development on localhost. */
  readonly insecure: boolean;
  readonly allowedOrigins: ReadonlySet<string>;
  readonly workspaces: WorkspacesConfig;
  readonly chats: {
    readonly access: "first-use" | "claim" | "workspace";
    readonly ownerTtlMs: number;
    /** Names that a client can set when it starts a chat. */
    readonly variables: ReadonlySet<string>;
    readonly metadata: ReadonlySet<string>;
  };
  /** Limits of the answers that are stored for their idempotency keys, in bytes. */
  readonly storedAnswers: {
    readonly answerBytesMax: number;
    /** Per 24 hours. */
    readonly subjectBytes: number;
    readonly workspaceBytes: number;
  };
  readonly authFailureLimit: QuotaSetting;
  readonly trustedProxies: number;
  readonly state:
    | { readonly kind: "memory" }
    | { readonly kind: "durable-object"; readonly timeoutMs: number }
    | {
        readonly kind: "redis";
        readonly address: RedisAddress;
        readonly prefix: string;
        readonly timeoutMs: number;
      };
  readonly upstream: {
    readonly origin: string;
    readonly timeoutMs: number;
    readonly connectTimeoutMs: number;
    /** Longest time to search for a lost answer. */
    readonly recoveryWindowMs: number;
    readonly answerBytesMax: number;
  };
  readonly inFlightMax: number;
  readonly bodyBytesMax: number;
  readonly contentCharsMax: number;
  readonly shutdown: {
    /** How long the service accepts requests after the signal, while `/readyz` answers 503. */
    readonly delayMs: number;
    /** Longest time to finish open requests after that. */
    readonly graceMs: number;
  };
  readonly exposeToolCalls: boolean;
  /** `endpoint` is the base URL of the collector. Undefined: no traces. */
  readonly traces: { readonly endpoint: string; readonly serviceName: string } | undefined;
  readonly log: { readonly level: LogLevel; readonly pretty: boolean };
}

/** One fault of the configuration. It never contains a value of the environment. */
export interface ConfigProblem {
  readonly variable: string;
  /** What is wrong; continues a sentence that starts with the variable's name. */
  readonly problem: string;
  /** A valid value; for a secret, how to create one. */
  readonly example: string;
}

export type ConfigResult =
  | { readonly kind: "config"; readonly config: Config; readonly warnings: readonly string[] }
  | { readonly kind: "problems"; readonly problems: readonly ConfigProblem[] };

export type Environment = Readonly<Record<string, string | undefined>>;

/** Where a platform stores the state without Redis. */
export type EmbeddedState = "memory" | "durable-object";

/**
 * Parses the configuration from the environment.
 *
 * @param environment variables by name; an empty value counts as unset. The caller must
 *   have replaced `NAME_FILE` by `NAME` (only Node has files).
 * @param embedded where the platform stores the state without Redis
 * @returns the frozen configuration with warnings, or all problems at once
 */
export function parseConfig(
  environment: Environment,
  embedded: EmbeddedState = "memory",
): ConfigResult {
  const problems: ConfigProblem[] = [];
  const report: Report = (variable, problem, example = variables[variable].example) => {
    problems.push({ variable, problem, example });
  };
  const clean = cleanEnvironment(environment);
  for (const { variable, problem } of clean.problems) {
    if (variable === "NODE_ENV") problems.push({ variable, problem, example: "production" });
    else report(variable, problem);
  }
  const values = parseValues(clean.environment, report);
  // A variable with a wrong value is set: it must not be reported as missing too.
  const wrong = new Set(problems.map(({ variable }) => variable));
  const reportOther: Report = (variable, problem, example) => {
    if (!RELATED[variable]?.some((other) => wrong.has(other))) report(variable, problem, example);
  };
  const production = clean.environment["NODE_ENV"]?.toLowerCase() === "production";
  const config = createConfig(values, { production, embedded }, reportOther);
  if (problems.length > 0 || config === undefined) return { kind: "problems", problems };
  const warnings = [...clean.warnings, ...listWarnings(clean.environment, config, production)];
  return { kind: "config", config, warnings };
}

/** A missing variable is not reported where one of these variables has a wrong value. */
const RELATED: { readonly [Name in VariableName]?: readonly VariableName[] } = {
  SESSION_SECRET: ["SESSION_SECRET", "SESSION_PUBLIC_KEY", "SESSION_JWKS_URL"],
  SESSION_ISSUER: ["SESSION_ISSUER"],
  SESSION_AUDIENCE: ["SESSION_AUDIENCE"],
  WORKSPACES: ["WORKSPACES", "UPONAI_WORKSPACE_ID"],
  UPONAI_API_TOKEN: ["UPONAI_API_TOKEN"],
  REDIS_URL: ["REDIS_URL", "STATE"],
};

/** @param example replaces the variable's own example where that would contradict the problem */
type Report = (variable: VariableName, problem: string, example?: string) => void;

function parseValues(environment: Environment, report: Report): VariableValues {
  const values: Partial<Record<VariableName, unknown>> = {};
  for (const name of variableNames) {
    const { value, problems } = parseVariable(name, environment[name]);
    values[name] = value;
    for (const problem of problems) report(name, problem);
  }
  // Every variable got the value of its own name just above.
  return values as VariableValues; // oxlint-disable-line typescript/no-unsafe-type-assertion
}

interface Platform {
  readonly production: boolean;
  readonly embedded: EmbeddedState;
}

/** Combines the values. Returns undefined where a part is missing; `report` has been told which. */
function createConfig(
  values: VariableValues,
  platform: Platform,
  report: Report,
): Config | undefined {
  const { SESSION_ISSUER: issuer, SESSION_AUDIENCE: audience } = values;
  const key = resolveSessionKey(values, report);
  const workspaces = resolveWorkspaces(values, report);
  const state = resolveState(values, platform, report);
  if (issuer === undefined) report("SESSION_ISSUER", "is required");
  if (audience === undefined) report("SESSION_AUDIENCE", "is required");
  for (const name of ["LOG_PRETTY", "COOKIE_INSECURE"] as const) {
    if (values[name] && platform.production) report(name, "must be off in production", "false");
  }
  if (
    key === undefined ||
    workspaces === undefined ||
    state === undefined ||
    issuer === undefined ||
    audience === undefined
  ) {
    return undefined;
  }
  return Object.freeze<Config>({
    listen: { host: values.HOST, port: values.PORT },
    basePath: values.BASE_PATH ?? "",
    routePrefix: values.BASE_PATH_STRIPPED ? "" : (values.BASE_PATH ?? ""),
    admin:
      values.ADMIN_PORT === undefined
        ? undefined
        : { host: values.ADMIN_HOST, port: values.ADMIN_PORT },
    connections: {
      max: values.MAX_CONNECTIONS,
      perAddressMax: resolvePerAddressMax(values),
      keepAliveMs: values.KEEP_ALIVE_TIMEOUT,
    },
    session: {
      key,
      issuer,
      audience,
      workspaceClaim: values.SESSION_WORKSPACE_CLAIM,
      chatsClaim: values.SESSION_CHATS_CLAIM,
      variables: values.SESSION_VARIABLES ?? new Map(),
    },
    cookies:
      values.COOKIE_KEYS === undefined
        ? undefined
        : { keys: values.COOKIE_KEYS, maxAgeMs: values.COOKIE_MAX_AGE },
    insecure: values.COOKIE_INSECURE,
    allowedOrigins: values.ALLOWED_ORIGINS ?? new Set(),
    workspaces,
    chats: {
      access: values.CHAT_ACCESS,
      ownerTtlMs: values.CHAT_OWNER_TTL,
      variables: values.CHAT_VARIABLES ?? new Set(),
      metadata: values.CHAT_METADATA ?? new Set(),
    },
    storedAnswers: {
      answerBytesMax: values.STORED_ANSWER_BYTES,
      subjectBytes: values.STORED_BYTES_SUBJECT,
      workspaceBytes: values.STORED_BYTES_WORKSPACE,
    },
    authFailureLimit: values.LIMIT_AUTH_FAILURES,
    trustedProxies: values.TRUST_PROXY,
    state,
    upstream: {
      origin: values.UPONAI_BASE_URL,
      timeoutMs: values.UPSTREAM_TIMEOUT,
      connectTimeoutMs: values.UPSTREAM_CONNECT_TIMEOUT,
      recoveryWindowMs: values.RECOVERY_WINDOW,
      answerBytesMax: values.MAX_UPSTREAM_BYTES,
    },
    inFlightMax: values.MAX_IN_FLIGHT,
    bodyBytesMax: values.MAX_BODY_BYTES,
    contentCharsMax: values.MAX_CONTENT_CHARS,
    shutdown: { delayMs: values.SHUTDOWN_DELAY, graceMs: values.SHUTDOWN_GRACE },
    exposeToolCalls: values.EXPOSE_TOOL_CALLS,
    traces: resolveTraces(values),
    log: { level: values.LOG_LEVEL, pretty: values.LOG_PRETTY },
  });
}

/** Behind a proxy all sockets have its address, so that a limit per address would limit all clients. */
function resolvePerAddressMax(values: VariableValues): number | undefined {
  const standard = values.TRUST_PROXY > 0 ? "off" : DIRECT_CONNECTIONS_PER_ADDRESS_MAX;
  const setting = values.MAX_CONNECTIONS_PER_ADDRESS ?? standard;
  return setting === "off" ? undefined : setting;
}

function resolveTraces(values: VariableValues): Config["traces"] {
  const endpoint = values.OTEL_EXPORTER_OTLP_ENDPOINT;
  if (endpoint === undefined || values.OTEL_SDK_DISABLED) return undefined;
  return { endpoint, serviceName: values.OTEL_SERVICE_NAME };
}

function resolveSessionKey(values: VariableValues, report: Report): SessionKeyConfig | undefined {
  const keys: SessionKeyConfig[] = [];
  const { SESSION_SECRET, SESSION_PUBLIC_KEY, SESSION_JWKS_URL } = values;
  if (SESSION_SECRET !== undefined) keys.push({ kind: "secret", secret: SESSION_SECRET });
  if (SESSION_PUBLIC_KEY !== undefined) {
    keys.push({ kind: "public", publicKey: SESSION_PUBLIC_KEY });
  }
  if (SESSION_JWKS_URL !== undefined) keys.push({ kind: "jwks", url: SESSION_JWKS_URL });
  if (keys.length === 1) return keys[0];
  if (keys.length === 0) {
    report("SESSION_SECRET", "is required unless SESSION_PUBLIC_KEY or SESSION_JWKS_URL is set");
  } else {
    report(
      "SESSION_SECRET",
      "is not the only session key: set exactly one of SESSION_SECRET, SESSION_PUBLIC_KEY and SESSION_JWKS_URL",
      "leave the others unset",
    );
  }
  return undefined;
}

function resolveWorkspaces(values: VariableValues, report: Report): WorkspacesConfig | undefined {
  const { UPONAI_WORKSPACE_ID: singleId, WORKSPACES: table } = values;
  if (singleId !== undefined && table !== undefined) {
    const example = "leave UPONAI_WORKSPACE_ID unset";
    report("WORKSPACES", "cannot be set together with UPONAI_WORKSPACE_ID: set one", example);
    return undefined;
  }
  if (singleId !== undefined) {
    const entry = { id: singleId, agentId: undefined, apiToken: undefined, limits: undefined };
    const workspace = createWorkspace(entry, values, report);
    return workspace && { kind: "single", workspace };
  }
  if (table === undefined) {
    report("WORKSPACES", "is required unless UPONAI_WORKSPACE_ID is set");
    return undefined;
  }
  const byClaim = new Map<string, WorkspaceConfig>();
  for (const [claim, entry] of table) {
    const workspace = createWorkspace(entry, values, report);
    // The shared token is missing: one report is enough for all entries.
    if (workspace === undefined) return undefined;
    byClaim.set(claim, workspace);
  }
  return { kind: "table", byClaim };
}

/** Completes an entry with the settings that all workspaces share. */
function createWorkspace(
  { id, agentId, apiToken, limits }: WorkspaceEntry,
  values: VariableValues,
  report: Report,
): WorkspaceConfig | undefined {
  const [token, ...others] = apiToken ?? values.UPONAI_API_TOKEN ?? [];
  if (token === undefined) {
    const problem = "is required unless every workspace in WORKSPACES has its own apiToken";
    report("UPONAI_API_TOKEN", problem);
    return undefined;
  }
  return {
    // The only place where a number becomes a workspace id: the operator configured it.
    id: id as WorkspaceId, // oxlint-disable-line typescript/no-unsafe-type-assertion
    apiTokens: [token, ...others],
    agentId: agentId ?? values.UPONAI_AGENT_ID,
    limits: {
      session: limits?.session ?? values.LIMIT_SESSION,
      sessionDaily: limits?.sessionDaily ?? values.LIMIT_SESSION_DAILY,
      workspace: limits?.workspace ?? values.LIMIT_WORKSPACE,
      ip: values.LIMIT_IP,
      replays: limits?.replays ?? values.LIMIT_REPLAYS,
    },
  };
}

function resolveState(
  values: VariableValues,
  { production, embedded }: Platform,
  report: Report,
): Config["state"] | undefined {
  const kind = values.STATE ?? (values.REDIS_URL === undefined ? embedded : "redis");
  const timeoutMs = values.REDIS_TIMEOUT;
  if (kind === "redis") {
    if (values.REDIS_URL === undefined) {
      report("REDIS_URL", "is required with STATE=redis");
      return undefined;
    }
    if (embedded === "durable-object" && values.REDIS_URL.kind !== "single") {
      report(
        "REDIS_URL",
        "must be a single server on Cloudflare Workers, where every request opens its own connection: Cluster and Sentinel are not supported",
      );
      return undefined;
    }
    return {
      kind,
      address: values.REDIS_URL,
      prefix: values.REDIS_PREFIX,
      timeoutMs,
    };
  }
  if (kind !== embedded) {
    const why =
      embedded === "memory"
        ? "Durable Objects exist only on Cloudflare Workers"
        : "instances on Cloudflare Workers share no memory";
    report("STATE", `cannot be ${kind} here: ${why}`, embedded);
    return undefined;
  }
  if (kind === "durable-object") return { kind, timeoutMs };
  if (production && values.STATE === undefined) {
    report(
      "REDIS_URL",
      "is required in production unless STATE=memory is set for a single instance",
    );
    return undefined;
  }
  return { kind };
}

/**
 * Lists warnings about entries of the table with one workspace id and different limits. What is spent
 * is stored by workspace id, so a request under the lower limit can reset what the other has counted.
 */
function listSharedIds(workspaces: WorkspacesConfig): readonly string[] {
  if (workspaces.kind === "single") return [];
  const warnings: string[] = [];
  const firsts = new Map<WorkspaceId, { readonly position: number; readonly limits: string }>();
  for (const [index, workspace] of [...workspaces.byClaim.values()].entries()) {
    const position = index + 1;
    const limits = JSON.stringify(workspace.limits);
    const first = firsts.get(workspace.id);
    if (first === undefined) firsts.set(workspace.id, { position, limits });
    else if (first.limits !== limits) {
      warnings.push(
        `WORKSPACES has the same id in entries ${first.position} and ${position}, with different limits. They share what is counted, and a request under one limit can reset what the other has counted. Set the same limits for both.`,
      );
    }
  }
  return warnings;
}

function listWarnings(
  environment: Environment,
  config: Config,
  production: boolean,
): readonly string[] {
  const warnings: string[] = [];
  // Values such as `prod`, or `production` with a stray character.
  const nodeEnv = environment["NODE_ENV"]?.toLowerCase().replaceAll(/[^a-z]/g, "");
  if (!production && nodeEnv?.startsWith("prod")) {
    warnings.push(
      "NODE_ENV is similar to production but not equal to it, so the checks for production are off. Set NODE_ENV=production.",
    );
  }
  if (config.state.kind === "memory") {
    warnings.push(
      "State is kept in this process: limits and locks apply to this instance only and are lost when it stops. To share them, set REDIS_URL and STATE=redis.",
    );
  }
  if (config.insecure) {
    warnings.push(
      "COOKIE_INSECURE is on: browsers send session cookies over plain http. Use it on localhost only.",
    );
  }
  if (config.basePath === "" && "BASE_PATH_STRIPPED" in environment) {
    warnings.push(
      "BASE_PATH_STRIPPED has no effect without BASE_PATH: set the path that is removed.",
    );
  }
  for (const name of config.chats.variables) {
    if (!config.session.variables.has(name)) continue;
    warnings.push(
      `CHAT_VARIABLES lists ${name}, which SESSION_VARIABLES sets from the session. The service accepts a client's value and does not use it. Remove ${name} from one of the two.`,
    );
  }
  warnings.push(...listSharedIds(config.workspaces));
  for (const name of Object.keys(environment)) {
    const suffix = name.endsWith("_FILE") ? "_FILE" : "";
    const base = name.slice(0, name.length - suffix.length);
    if (isVariableName(base)) continue;
    const meant = suggestVariable(base);
    if (meant === undefined) continue;
    warnings.push(`${name} is not a variable of this service; did you mean ${meant}${suffix}?`);
  }
  return warnings;
}
