// Express with widely used middleware, each set up as its documentation shows.
import { Agent } from "node:http";

import express from "express";
import { expressjwt } from "express-jwt";
import { rateLimit } from "express-rate-limit";
import { createProxyMiddleware, fixRequestBody } from "http-proxy-middleware";
import { Redis } from "ioredis";
import { pinoHttp } from "pino-http";
import { RedisStore } from "rate-limit-redis";

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

const redis = new Redis(redisUrl);
const app = express();
app.set("trust proxy", 1);
app.use(pinoHttp());

app.post(
  "/chat/:chatId/send",
  expressjwt({ secret, algorithms: ["HS256"], issuer, audience }),
  rateLimit({
    windowMs: WINDOW_MS,
    limit: QUOTA,
    standardHeaders: true,
    legacyHeaders: false,
    keyGenerator: (request) => `${request.auth.workspace}:${request.auth.sub}`,
    store: new RedisStore({ sendCommand: (command, ...args) => redis.call(command, ...args) }),
  }),
  express.json(),
  (request, response, next) => {
    const workspaceId = workspaces.get(request.auth.workspace);
    if (workspaceId === undefined) {
      response.sendStatus(403);
      return;
    }
    request.body = { workspaceId, content: request.body.content };
    next();
  },
  createProxyMiddleware({
    target: upstreamOrigin,
    // Without an agent, every message would open its own connection.
    agent: new Agent({ keepAlive: true }),
    pathRewrite: (_path, request) => `/api/chats/${request.params.chatId}/completions`,
    headers: { authorization: `Bearer ${upstreamToken}` },
    on: { proxyReq: fixRequestBody },
  }),
);

// Express recognizes an error handler by its four parameters.
app.use((error, _request, response, _next) => {
  response.sendStatus(error.status ?? 500);
});

app.listen(port, host);
