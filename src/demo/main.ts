/**
 * The command `npm run demo`: the emulator, the service with in-process state, and a chat page, all
 * in one process on loopback. The product does not depend on it.
 */
import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";

import { SignJWT } from "jose";

import { type Config, parseConfig } from "../config/config.ts";
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
  return new SignJWT({ name: "Demo User" })
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
  "/demo/message-client.js": {
    file: "message-client.js",
    type: "text/javascript; charset=utf-8",
  },
  "/demo/page.js": { file: "page.js", type: "text/javascript; charset=utf-8" },
};

/** Serves the page on the origin of the service, as a reverse proxy does in production. */
async function answerDemo(path: string, method: string): Promise<Response | undefined> {
  if (path === "/demo/session" && method === "POST") {
    return Response.json({ token: await mintSession("demo-user") });
  }
  const page = Object.hasOwn(PAGE_FILES, path) ? PAGE_FILES[path] : undefined;
  if (page === undefined) return undefined;
  // Read from src/ also when this file runs from dist/: both folders have the same depth.
  const text = await readFile(new URL(`../../src/demo/${page.file}`, import.meta.url), "utf8");
  return new Response(text, {
    headers: {
      "Content-Type": page.type,
      "Content-Security-Policy":
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
      "X-Content-Type-Options": "nosniff",
      "Cache-Control": "no-store",
    },
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
    async (request, env) =>
      (await answerDemo(new URL(request.url).pathname, request.method)) ?? app.fetch(request, env),
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
