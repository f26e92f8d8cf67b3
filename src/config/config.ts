/**
 * Owns the one reading of the environment: text in, a frozen `Config` out, or every problem at once.
 * Nothing else in the program reads the environment. It opens no file and no connection.
 */
import type { WorkspaceId } from "../branded.ts";
import type { LogLevel } from "../logger.ts";
import { cleanEnvironment } from "./clean-environment.ts";
import type { RedisAddress } from "./redis-url.ts";
import { suggestVariable } from "./suggest-variable.ts";
import type { QuotaSetting } from "./units.ts";
import {
  isVariableName,
  variableNames,
  type VariableName,
  variables,
  type VariableValues,
} from "./variables.ts";

/** One workspace as the operator configured it. */
export interface WorkspaceConfig {
  readonly id: WorkspaceId;
  /** API tokens that reach it, the preferred one first; never empty. */
  readonly apiTokens: readonly [string, ...string[]];
  /** The agent that chats are started with. */
  readonly agentId: string | undefined;
  readonly limits: {
    readonly session: QuotaSetting;
    readonly sessionDaily: QuotaSetting;
    readonly workspace: QuotaSetting;
    readonly ip: QuotaSetting;
    readonly replays: QuotaSetting;
  };
}

/** Either every session has the one workspace, or a claim is looked up in a table. */
export type WorkspacesConfig =
  | { readonly kind: "single"; readonly workspace: WorkspaceConfig }
  | { readonly kind: "table"; readonly byClaim: ReadonlyMap<string, WorkspaceConfig> };

/** What verifies session tokens; the kind decides which algorithms are allowed. */
export type SessionKeyConfig =
  | { readonly kind: "secret"; readonly secret: string }
  | { readonly kind: "public"; readonly publicKey: string }
  | { readonly kind: "jwks"; readonly url: string };

export interface Config {
  readonly listen: { readonly host: string; readonly port: number };
  /** Undefined: no metrics, and no second listener. */
  readonly admin: { readonly host: string; readonly port: number } | undefined;
  /** Of each listener. */
  readonly connections: {
    readonly max: number;
    /** Undefined: any number. */
    readonly perAddressMax: number | undefined;
    readonly keepAliveMs: number;
  };
  readonly session: {
    readonly key: SessionKeyConfig;
    readonly issuer: string;
    readonly audience: string;
    readonly workspaceClaim: string;
    readonly chatsClaim: string;
    /** Claim of the session by the dynamic variable that it sets. */
    readonly variables: ReadonlyMap<string, string>;
  };
  /** Undefined: no cookie sessions. */
  readonly cookies: { readonly keys: readonly Uint8Array[]; readonly maxAgeMs: number } | undefined;
  /** Plain-http development on localhost. */
  readonly insecure: boolean;
  readonly allowedOrigins: ReadonlySet<string>;
  readonly workspaces: WorkspacesConfig;
  readonly chats: {
    readonly access: "first-use" | "claim" | "workspace";
    readonly ownerTtlMs: number;
    /** Names that a client may choose when it starts a chat. */
    readonly variables: ReadonlySet<string>;
    readonly metadata: ReadonlySet<string>;
  };
  /** What may be stored of answers, for their idempotency keys. */
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
    /** Longest search for a lost answer. */
    readonly recoveryWindowMs: number;
    readonly answerBytesMax: number;
  };
  readonly inFlightMax: number;
  readonly bodyBytesMax: number;
  readonly contentCharsMax: number;
  readonly shutdown: {
    /** How long requests are still served after the signal, while `/readyz` answers 503. */
    readonly delayMs: number;
    /** Longest drain after that. */
    readonly graceMs: number;
  };
  readonly exposeToolCalls: boolean;
  /** Undefined: no traces. `endpoint` is the base URL of the collector. */
  readonly traces: { readonly endpoint: string; readonly serviceName: string } | undefined;
  readonly log: { readonly level: LogLevel; readonly pretty: boolean };
}

/** One fault of the configuration. It never holds a value of the environment. */
export interface ConfigProblem {
  readonly variable: string;
  readonly problem: string;
  /** A right value, or for a secret how to make one. */
  readonly example: string;
}

export type ConfigResult =
  | { readonly kind: "config"; readonly config: Config; readonly warnings: readonly string[] }
  | { readonly kind: "problems"; readonly problems: readonly ConfigProblem[] };

export type Environment = Readonly<Record<string, string | undefined>>;

/** Where the state of each platform lives when no other service keeps it. */
export type EmbeddedState = "memory" | "durable-object";

/**
 * Reads the configuration.
 *
 * @param environment variables by name; an empty value counts as unset. `NAME_FILE` must have been
 *   resolved to `NAME` before (only Node has files).
 * @param embedded the platform's own state: Node's memory, or Workers' Durable Objects
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
  const values = readValues(clean.environment, report);
  // What was told wrong must not be told missing too.
  const wrong = new Set(problems.map(({ variable }) => variable));
  const reportOther: Report = (variable, problem, example) => {
    if (!RELATED[variable]?.some((other) => wrong.has(other))) report(variable, problem, example);
  };
  const production = clean.environment["NODE_ENV"]?.toLowerCase() === "production";
  const config = assemble(values, { production, embedded }, reportOther);
  if (problems.length > 0 || config === undefined) return { kind: "problems", problems };
  const warnings = [...clean.warnings, ...listWarnings(clean.environment, config, production)];
  return { kind: "config", config, warnings };
}

/** Variables whose absence is no news when one of these was wrong. */
const RELATED: { readonly [Name in VariableName]?: readonly VariableName[] } = {
  SESSION_SECRET: ["SESSION_SECRET", "SESSION_PUBLIC_KEY", "SESSION_JWKS_URL"],
  SESSION_ISSUER: ["SESSION_ISSUER"],
  SESSION_AUDIENCE: ["SESSION_AUDIENCE"],
  WORKSPACES: ["WORKSPACES", "UPONAI_WORKSPACE_ID"],
  UPONAI_API_TOKEN: ["UPONAI_API_TOKEN"],
  REDIS_URL: ["REDIS_URL", "STATE"],
};

/** @param example where the variable's own would contradict the problem */
type Report = (variable: VariableName, problem: string, example?: string) => void;

function readValues(environment: Environment, report: Report): VariableValues {
  const values: Partial<Record<VariableName, unknown>> = {};
  for (const name of variableNames) {
    const text = environment[name];
    if (text === undefined || text === "") continue;
    const result = variables[name].schema.safeParse(text);
    if (result.success) values[name] = result.data;
    else for (const issue of result.error.issues) report(name, issue.message);
  }
  // Each value was made by the schema of its own name just above.
  return values as VariableValues; // oxlint-disable-line typescript/no-unsafe-type-assertion
}

interface Platform {
  readonly production: boolean;
  readonly embedded: EmbeddedState;
}

function assemble(values: VariableValues, platform: Platform, report: Report): Config | undefined {
  const { production } = platform;
  const before = { faults: 0 };
  const counted: Report = (variable, problem, example) => {
    before.faults += 1;
    report(variable, problem, example);
  };
  const key = resolveSessionKey(values, counted);
  const workspaces = resolveWorkspaces(values, counted);
  const state = resolveState(values, platform, counted);
  for (const name of ["SESSION_ISSUER", "SESSION_AUDIENCE"] as const) {
    if (values[name] === undefined) counted(name, "is required");
  }
  for (const name of ["LOG_PRETTY", "COOKIE_INSECURE"] as const) {
    if (values[name] === true && production) counted(name, "must be off in production", "false");
  }
  if (key === undefined || workspaces === undefined || state === undefined || before.faults > 0) {
    return undefined;
  }
  return Object.freeze<Config>({
    listen: { host: values.HOST ?? "0.0.0.0", port: values.PORT ?? 8_787 },
    admin:
      values.ADMIN_PORT === undefined
        ? undefined
        : { host: values.ADMIN_HOST ?? "127.0.0.1", port: values.ADMIN_PORT },
    connections: {
      max: values.MAX_CONNECTIONS ?? 10_000,
      perAddressMax: resolvePerAddressMax(values),
      keepAliveMs: values.KEEP_ALIVE_TIMEOUT ?? 75_000,
    },
    session: {
      key,
      issuer: values.SESSION_ISSUER ?? "",
      audience: values.SESSION_AUDIENCE ?? "",
      workspaceClaim: values.SESSION_WORKSPACE_CLAIM ?? "workspace",
      chatsClaim: values.SESSION_CHATS_CLAIM ?? "chats",
      variables: values.SESSION_VARIABLES ?? new Map(),
    },
    cookies:
      values.COOKIE_KEYS === undefined
        ? undefined
        : { keys: values.COOKIE_KEYS, maxAgeMs: values.COOKIE_MAX_AGE ?? 28_800_000 },
    insecure: values.COOKIE_INSECURE ?? false,
    allowedOrigins: values.ALLOWED_ORIGINS ?? new Set(),
    workspaces,
    chats: {
      access: values.CHAT_ACCESS ?? "first-use",
      ownerTtlMs: values.CHAT_OWNER_TTL ?? 2_592_000_000,
      variables: values.CHAT_VARIABLES ?? new Set(),
      metadata: values.CHAT_METADATA ?? new Set(),
    },
    storedAnswers: {
      answerBytesMax: values.STORED_ANSWER_BYTES ?? 65_536,
      subjectBytes: values.STORED_BYTES_SUBJECT ?? 4_194_304,
      workspaceBytes: values.STORED_BYTES_WORKSPACE ?? 33_554_432,
    },
    authFailureLimit: values.LIMIT_AUTH_FAILURES ?? perMinute(30),
    trustedProxies: values.TRUST_PROXY ?? 0,
    state,
    upstream: {
      origin: values.UPONAI_BASE_URL ?? "https://api.upon-ai.com",
      timeoutMs: values.UPSTREAM_TIMEOUT ?? 60_000,
      connectTimeoutMs: values.UPSTREAM_CONNECT_TIMEOUT ?? 5_000,
      recoveryWindowMs: values.RECOVERY_WINDOW ?? 20_000,
      answerBytesMax: values.MAX_UPSTREAM_BYTES ?? 1_048_576,
    },
    inFlightMax: values.MAX_IN_FLIGHT ?? 2_000,
    bodyBytesMax: values.MAX_BODY_BYTES ?? 32_768,
    contentCharsMax: values.MAX_CONTENT_CHARS ?? 8_000,
    shutdown: { delayMs: values.SHUTDOWN_DELAY ?? 0, graceMs: values.SHUTDOWN_GRACE ?? 65_000 },
    exposeToolCalls: values.EXPOSE_TOOL_CALLS ?? false,
    traces: resolveTraces(values),
    log: { level: values.LOG_LEVEL ?? "info", pretty: values.LOG_PRETTY ?? false },
  });
}

/** Behind a proxy all sockets come from the proxy: a limit by address would be a limit on all clients. */
function resolvePerAddressMax(values: VariableValues): number | undefined {
  const setting =
    values.MAX_CONNECTIONS_PER_ADDRESS ?? ((values.TRUST_PROXY ?? 0) > 0 ? "off" : 2_500);
  return setting === "off" ? undefined : setting;
}

function resolveTraces(values: VariableValues): Config["traces"] {
  const endpoint = values.OTEL_EXPORTER_OTLP_ENDPOINT;
  if (endpoint === undefined || values.OTEL_SDK_DISABLED === true) return undefined;
  return { endpoint, serviceName: values.OTEL_SERVICE_NAME ?? "uponai-bff" };
}

function perMinute(quota: number): QuotaSetting {
  return { quota, windowSeconds: 60, burst: quota };
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
    report("SESSION_SECRET", "is required, or one of SESSION_PUBLIC_KEY and SESSION_JWKS_URL");
  } else {
    report(
      "SESSION_SECRET",
      "is one of several session keys: set exactly one of SESSION_SECRET, SESSION_PUBLIC_KEY and SESSION_JWKS_URL",
      "leave the others unset",
    );
  }
  return undefined;
}

function resolveWorkspaces(values: VariableValues, report: Report): WorkspacesConfig | undefined {
  const {
    UPONAI_WORKSPACE_ID: singleId,
    WORKSPACES: table,
    UPONAI_API_TOKEN: sharedTokens,
  } = values;
  if ((singleId === undefined) === (table === undefined)) {
    if (singleId === undefined) {
      report("WORKSPACES", "is required, or UPONAI_WORKSPACE_ID");
    } else {
      const example = "leave UPONAI_WORKSPACE_ID unset";
      report("WORKSPACES", "and UPONAI_WORKSPACE_ID exclude each other: set one", example);
    }
    return undefined;
  }
  const entries =
    table ??
    new Map([
      ["", { id: singleId ?? 0, agentId: undefined, apiToken: undefined, limits: undefined }],
    ]);
  const byClaim = new Map<string, WorkspaceConfig>();
  for (const [claim, entry] of entries) {
    const own = entry.limits;
    const [token, ...others] = entry.apiToken ?? sharedTokens ?? [];
    if (token === undefined) {
      report("UPONAI_API_TOKEN", "is required unless every workspace has its own apiToken");
      return undefined;
    }
    byClaim.set(claim, {
      // The one place where a number becomes a workspace id: it came from the operator.
      id: entry.id as WorkspaceId, // oxlint-disable-line typescript/no-unsafe-type-assertion
      apiTokens: [token, ...others],
      agentId: entry.agentId ?? values.UPONAI_AGENT_ID,
      limits: {
        session: own?.session ?? values.LIMIT_SESSION ?? perMinute(20),
        sessionDaily: own?.sessionDaily ?? values.LIMIT_SESSION_DAILY ?? "off",
        workspace: own?.workspace ?? values.LIMIT_WORKSPACE ?? perMinute(600),
        ip: values.LIMIT_IP ?? perMinute(120),
        replays: own?.replays ?? values.LIMIT_REPLAYS ?? perMinute(60),
      },
    });
  }
  const [only] = byClaim.values();
  if (table === undefined && only !== undefined) return { kind: "single", workspace: only };
  return { kind: "table", byClaim };
}

function resolveState(
  values: VariableValues,
  { production, embedded }: Platform,
  report: Report,
): Config["state"] | undefined {
  const kind = values.STATE ?? (values.REDIS_URL === undefined ? embedded : "redis");
  const timeoutMs = values.REDIS_TIMEOUT ?? 500;
  if (kind === "redis") {
    if (values.REDIS_URL === undefined) {
      report("REDIS_URL", "is required with STATE=redis");
      return undefined;
    }
    if (embedded === "durable-object" && values.REDIS_URL.kind !== "single") {
      report("REDIS_URL", "must be one server on Workers, where each request connects anew");
      return undefined;
    }
    return {
      kind,
      address: values.REDIS_URL,
      prefix: values.REDIS_PREFIX ?? "bff:",
      timeoutMs,
    };
  }
  if (kind !== embedded) {
    const where = embedded === "memory" ? "there are none outside Workers" : "Workers share none";
    report("STATE", `cannot be ${kind} here: ${where}`, embedded);
    return undefined;
  }
  if (kind === "durable-object") return { kind, timeoutMs };
  if (production && values.STATE === undefined) {
    report("REDIS_URL", "is required in production (or STATE=memory for one instance alone)");
    return undefined;
  }
  return { kind };
}

function listWarnings(
  environment: Environment,
  config: Config,
  production: boolean,
): readonly string[] {
  const warnings: string[] = [];
  // `prod`, or what a stray character makes of `production`.
  const nodeEnv = environment["NODE_ENV"]?.toLowerCase().replaceAll(/[^a-z]/g, "");
  if (!production && nodeEnv?.startsWith("prod")) {
    warnings.push(
      "NODE_ENV resembles production but is not: the checks for production are off. Set NODE_ENV=production.",
    );
  }
  if (config.state.kind === "memory") {
    warnings.push(
      "State is kept in this process: limits and locks hold for this one instance and end with it. Redis shares them: set REDIS_URL and STATE=redis.",
    );
  }
  if (config.insecure) {
    warnings.push(
      "COOKIE_INSECURE is on: session cookies travel over plain http. For localhost only.",
    );
  }
  for (const name of config.chats.variables) {
    if (!config.session.variables.has(name)) continue;
    warnings.push(
      `CHAT_VARIABLES lists ${name}, which SESSION_VARIABLES sets from the session: what a client sends for it is accepted and not used.`,
    );
  }
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
