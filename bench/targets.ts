/** Lists the targets: the product and the services that it is compared with. */
import { fileURLToPath } from "node:url";

import { AUDIENCE, ISSUER, ORIGIN, SECRET, WORKSPACES } from "./sessions.ts";

export interface TargetDefinition {
  readonly name: string;
  /** File of the program. */
  readonly entry: string;
  /** Whether it verifies sessions and asks Redis. Only the bare floor does neither. */
  readonly guarded: boolean;
  /** Variables that it gets besides those of every target. */
  readonly env?: Readonly<Record<string, string>>;
}

/** The target that all others are compared with. */
export const BASE = "floor-auth";
/** The same job as the product's, written by hand. */
export const FULL = "floor-full";
export const PRODUCT = "uponai-bff";

export const targetDefinitions: readonly TargetDefinition[] = [
  { name: "floor", entry: resolve("peers/floor.js"), guarded: false },
  { name: BASE, entry: resolve("peers/floor-auth.js"), guarded: true },
  { name: FULL, entry: resolve("peers/floor-full.js"), guarded: true },
  { name: PRODUCT, entry: resolve("../dist/platform/node.js"), guarded: true },
  { name: "fastify", entry: resolve("peers/fastify.js"), guarded: true },
  { name: "express", entry: resolve("peers/express.js"), guarded: true },
  { name: "careless-hono", entry: resolve("peers/careless-hono.js"), guarded: true },
];

/** Parts of the product that take the place of those of `floor-full`, one after the other. */
const STEPS = ["state", "client", "session", "log", "listener"] as const;

/** From `floor-full` to the product; each adds one part of the product to the one before. */
export const ladder: readonly TargetDefinition[] = [
  findTarget(FULL),
  ...STEPS.map((step, index) => ({
    name: `+ ${step}`,
    entry: resolve("peers/ladder.js"),
    guarded: true,
    env: { STEPS: STEPS.slice(0, index + 1).join(",") },
  })),
  findTarget(PRODUCT),
];

/** @throws Error if there is no such target */
export function findTarget(name: string): TargetDefinition {
  const found = targetDefinitions.find((definition) => definition.name === name);
  if (found === undefined) throw new Error(`there is no target ${name}`);
  return found;
}

function resolve(path: string): string {
  return fileURLToPath(new URL(path, import.meta.url));
}

export const UPSTREAM_TOKEN = "benchmark-upstream-token";

/** A limit that the load never reaches, but that is counted. */
const NEVER = "1000000/1s";

/** The environment of every target. The peers read the variables that they support. */
export function targetEnvironment(
  port: number,
  upstreamPort: number,
  redisPort: number,
): Record<string, string> {
  return {
    HOST: "127.0.0.1",
    PORT: String(port),
    UPONAI_BASE_URL: `http://127.0.0.1:${upstreamPort}`,
    UPONAI_API_TOKEN: UPSTREAM_TOKEN,
    REDIS_URL: `redis://127.0.0.1:${redisPort}`,
    // A slow Redis on a busy machine must not end the run. The peers have no such limit.
    REDIS_TIMEOUT: "5s",
    SESSION_SECRET: SECRET,
    SESSION_ISSUER: ISSUER,
    SESSION_AUDIENCE: AUDIENCE,
    WORKSPACES: JSON.stringify(WORKSPACES),
    COOKIE_KEYS: Buffer.alloc(32, 7).toString("base64url"),
    ALLOWED_ORIGINS: ORIGIN,
    TRUST_PROXY: "1",
    LIMIT_SESSION: NEVER,
    LIMIT_SESSION_DAILY: "9999999/1d",
    LIMIT_WORKSPACE: NEVER,
    LIMIT_IP: NEVER,
    LIMIT_REPLAYS: NEVER,
    LIMIT_AUTH_FAILURES: NEVER,
    STORED_BYTES_SUBJECT: "256MiB",
    STORED_BYTES_WORKSPACE: "256MiB",
    MAX_IN_FLIGHT: "10000",
  };
}
