// Fastify with its own plugins, each set up as its documentation shows.
import fastifyJwt from "@fastify/jwt";
import fastifyRateLimit from "@fastify/rate-limit";
import fastifyReplyFrom from "@fastify/reply-from";
import Fastify, { LogController } from "fastify";
import { Redis } from "ioredis";

import {
  audience,
  host,
  issuer,
  port,
  QUOTA,
  redisUrl,
  secret,
  upstreamOrigin,
  upstreamToken,
  WINDOW_MS,
  workspaces,
} from "./settings.js";

// One log line per request, as the other targets write, instead of Fastify's two.
const app = Fastify({
  logger: true,
  logController: new LogController({ disableRequestLogging: true }),
  trustProxy: 1,
});
app.addHook("onResponse", async (request, reply) => {
  request.log.info({ req: request, res: reply, responseTime: reply.elapsedTime }, "request");
});

await app.register(fastifyJwt, {
  secret,
  verify: {
    algorithms: ["HS256"],
    allowedIss: issuer,
    allowedAud: audience,
    // Caches verified tokens, as the floor and the product do.
    cache: 20_000,
  },
});
await app.register(fastifyRateLimit, {
  global: false,
  max: QUOTA,
  timeWindow: WINDOW_MS,
  // Runs after the session is verified.
  hook: "preHandler",
  redis: new Redis(redisUrl, { connectTimeout: 500, maxRetriesPerRequest: 1 }),
  keyGenerator: (request) => `${request.user.workspace}:${request.user.sub}`,
});
await app.register(fastifyReplyFrom, { base: upstreamOrigin });

app.post(
  "/chat/:chatId/send",
  {
    onRequest: (request) => request.jwtVerify(),
    config: { rateLimit: {} },
    schema: {
      body: {
        type: "object",
        required: ["content"],
        properties: { content: { type: "string", minLength: 1, maxLength: 8_000 } },
      },
    },
  },
  (request, reply) => {
    const workspaceId = workspaces.get(request.user.workspace);
    if (workspaceId === undefined) return reply.code(403).send();
    return reply.from(`/api/chats/${request.params.chatId}/completions`, {
      body: { workspaceId, content: request.body.content },
      rewriteRequestHeaders: (_request, headers) => ({
        ...headers,
        authorization: `Bearer ${upstreamToken}`,
      }),
    });
  },
);

await app.listen({ port, host });
