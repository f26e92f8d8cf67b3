/**
 * The command `npm run demo`: the emulator, the service with in-process state, and a chat page, all
 * in one process on loopback. The product does not depend on it.
 */
import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { setTimeout } from "node:timers/promises";

import { SignJWT } from "jose";
import { z } from "zod";

import { type Config, parseConfig } from "../config/config.ts";
import type { Fault } from "../emulator/faults.ts";
import { startOnFreePort } from "../emulator/free-port.ts";
import { startEmulator } from "../emulator/listen.ts";
import { createNodeLog } from "../platform/node/log.ts";
import { createCommonHeaders } from "../http/common-headers.ts";
import { startNodeServer } from "../platform/node/server.ts";
import { NO_PROXIES } from "../platform/node/egress.ts";
import { createNodeService, type NodeService } from "../platform/node/service.ts";

const HOST = "127.0.0.1";
const SERVICE_PORT = 8_787;
const EMULATOR_PORT = 8_790;
const WORKSPACE = 42;
const CHAT = "demo-chat";
const ISSUER = "https://demo.example/";
const AUDIENCE = "uponai-bff";

/** Created for every run, so that no secret of the demo can be copied into production. */
const sessionSecret = randomBytes(48).toString("base64url");
const apiToken = randomBytes(24).toString("base64url");

function createConfig(upstreamUrl: string): Config {
  const result = parseConfig({
    UPONAI_BASE_URL: upstreamUrl,
    UPONAI_API_TOKEN: apiToken,
    UPONAI_WORKSPACE_ID: String(WORKSPACE),
    UPONAI_AGENT_ID: "demo-agent",
    CHAT_METADATA: "page",
    SESSION_VARIABLES: "customer_name=name",
    SESSION_SECRET: sessionSecret,
    SESSION_ISSUER: ISSUER,
    SESSION_AUDIENCE: AUDIENCE,
    COOKIE_KEYS: randomBytes(32).toString("base64url"),
    // The demo uses plain http, on loopback only.
    COOKIE_INSECURE: "true",
  });
  if (result.kind === "config") return result.config;
  throw new Error(`the configuration of the demo has problems: ${JSON.stringify(result.problems)}`);
}

/** Signs a session token, as the login of a real site does for a user. */
function mintSession(subject: string): Promise<string> {
  return new SignJWT({ name: subject })
    .setProtectedHeader({ alg: "HS256" })
    .setIssuer(ISSUER)
    .setAudience(AUDIENCE)
    .setSubject(subject)
    .setIssuedAt()
    .setExpirationTime("8h")
    .sign(new TextEncoder().encode(sessionSecret));
}

const PAGE_FILES: Readonly<Record<string, { readonly file: string; readonly type: string }>> = {
  "/": { file: "page.html", type: "text/html; charset=utf-8" },
  "/demo/page.css": { file: "page.css", type: "text/css; charset=utf-8" },
  "/demo/page.js": { file: "page.js", type: "text/javascript; charset=utf-8" },
};

const USERS = ["alice", "bob"];
const sessionSchema = z.object({ user: z.enum(USERS) });

/** Faults that the emulator has for the next message, wherever it comes from. */
const UPSTREAM_FAULTS: Readonly<Record<string, Fault>> = {
  slow: { kind: "taken-then-delay", delayMs: 15_000 },
  lost: { kind: "reset-after" },
  busy: { kind: "status", status: 503, retryAfter: "3" },
  ended: { kind: "status", status: 409 },
};
const faultSchema = z.object({
  name: z.enum([...Object.keys(UPSTREAM_FAULTS), "cut", "limit", "restart"]),
});

/** How long the service is away, in milliseconds. */
const RESTART_MS = 5_000;
/** Requests that certainly spend the limit of a user. */
const LIMIT_REQUESTS = 25;

/** Faults between the browser and the service, as of a proxy in front. */
const proxy = { cutsNext: false, awayUntilMs: 0 };

/** Sets a fault for the next message. */
async function setFault(name: string): Promise<void> {
  const fault = UPSTREAM_FAULTS[name];
  if (fault !== undefined) emulator.addFault(fault, { operation: "completion", times: 1 });
  else if (name === "cut") proxy.cutsNext = true;
  else if (name === "restart") proxy.awayUntilMs = Date.now() + RESTART_MS;
  else {
    const headers = { Authorization: `Bearer ${await mintSession("alice")}` };
    const url = `http://${HOST}:${server.port}/chat/${CHAT}`;
    // All at once: a limit that is spent slowly is free again by the end.
    for (let count = 0; count < LIMIT_REQUESTS; count += 1) void fetch(url, { headers });
  }
}

type Fetch = (request: Request, env?: object) => Response | Promise<Response>;

/** Serves the page on the origin of the service, as a reverse proxy does in production. */
async function answerDemo(request: Request): Promise<Response | undefined> {
  const { method } = request;
  const path = new URL(request.url).pathname;
  if (path === "/demo/seen") {
    // The faults of the emulator can be asked for in a message, too; they are no messages.
    return Response.json({ messages: emulator.messages() });
  }
  if (method === "POST" && (path === "/demo/session" || path === "/demo/fault")) {
    const body: unknown = await request.json().catch(() => undefined);
    const session = sessionSchema.safeParse(body);
    const fault = faultSchema.safeParse(body);
    if (path === "/demo/session" && session.success) {
      return new Response(await mintSession(session.data.user));
    }
    if (path === "/demo/fault" && fault.success) {
      await setFault(fault.data.name);
      return Response.json({});
    }
    return Response.json({ error: "not known" }, { status: 400 });
  }
  const page = Object.hasOwn(PAGE_FILES, path) ? PAGE_FILES[path] : undefined;
  if (page === undefined) return undefined;
  // Read from src/ also when this file runs from dist/: both folders have the same depth.
  const text = await readFile(new URL(`../../src/demo/${page.file}`, import.meta.url), "utf8");
  return new Response(text, {
    headers: {
      "Content-Type": page.type,
      "Content-Security-Policy":
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
      "X-Content-Type-Options": "nosniff",
      "Cache-Control": "no-store",
    },
  });
}

/** Asks the service through a proxy that has the chosen fault. */
async function askThroughProxy(
  request: Request,
  env: object | undefined,
  service: Fetch,
): Promise<Response> {
  const isMessage = request.url.endsWith("/send");
  if (Date.now() < proxy.awayUntilMs && new URL(request.url).pathname.startsWith("/chat")) {
    return answerPage(502);
  }
  if (!isMessage || !proxy.cutsNext) return service(request, env);
  proxy.cutsNext = false;
  // The service goes on after its client has left.
  void Promise.resolve(service(request, env));
  await setTimeout(1_000);
  return answerPage(504);
}

function answerPage(status: number): Response {
  return new Response(`<!doctype html><h1>${status}</h1>`, {
    status,
    headers: { "Content-Type": "text/html" },
  });
}

async function createService(config: Config): Promise<NodeService> {
  const result = await createNodeService(config, log, NO_PROXIES);
  if (result.kind === "service") return result.service;
  throw new Error("the demo's session key is unusable");
}

const log = createNodeLog("info", true);
const emulator = await startOnFreePort(EMULATOR_PORT, (port) =>
  startEmulator({
    host: HOST,
    port,
    tokens: { [apiToken]: [WORKSPACE] },
    chats: [{ chatId: CHAT, workspaceId: WORKSPACE }],
  }),
);
const config = createConfig(emulator.url);
const { app, gate, metrics } = await createService(config);
const server = await startOnFreePort(SERVICE_PORT, (port) =>
  startNodeServer(
    async (request, env) => (await answerDemo(request)) ?? askThroughProxy(request, env, app.fetch),
    gate,
    {
      host: HOST,
      port,
      commonHeaders: createCommonHeaders(config.insecure),
      connections: config.connections,
      log,
      metrics,
    },
  ),
);

// `on` and not `once`: under npm a Ctrl-C can arrive twice, from the terminal and from npm.
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.on(signal, () => {
    void log.drained().then(() => process.exit(0));
  });
}

const url = `http://${HOST}:${server.port}`;
console.log(`
UponAI emulator    ${emulator.url}
Demo page          ${url}/

Send a message:

curl -i ${url}/chat/${CHAT}/send \\
  -H 'Authorization: Bearer ${await mintSession("demo-user")}' \\
  -H 'Content-Type: application/json' \\
  -H "Idempotency-Key: $(date +%s)" \\
  -d '{"content":"Hello"}'

Ctrl-C ends it. Log:
`);
