// Hono with common parts: its own jwt middleware, the most used rate limiter for it, and the global
// fetch.
import { serve } from "@hono/node-server";
import { Hono } from "hono";
import { jwt } from "hono/jwt";
import { rateLimiter, RedisStore } from "hono-rate-limiter";
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

const redis = new Redis(redisUrl);
// The client that the store requires.
const client = {
  scriptLoad: (script) => redis.script("LOAD", script),
  evalsha: (sha, keys, args) => redis.evalsha(sha, keys.length, ...keys, ...args),
  decr: (key) => redis.decr(key),
  del: (key) => redis.del(key),
};

const app = new Hono();

app.post(
  "/chat/:chatId/send",
  jwt({ secret, alg: "HS256", verification: { iss: issuer, aud: audience } }),
  rateLimiter({
    windowMs: WINDOW_MS,
    limit: QUOTA,
    keyGenerator: (c) => {
      const { workspace, sub } = c.get("jwtPayload");
      return `${workspace}:${sub}`;
    },
    store: new RedisStore({ client }),
  }),
  async (c) => {
    const workspaceId = workspaces.get(c.get("jwtPayload").workspace);
    if (workspaceId === undefined) return c.json({}, 403);
    const { content } = await c.req.json();
    const response = await fetch(
      `${upstreamOrigin}/api/chats/${c.req.param("chatId")}/completions`,
      {
        method: "POST",
        headers: { authorization: `Bearer ${upstreamToken}`, "content-type": "application/json" },
        body: JSON.stringify({ workspaceId, content }),
      },
    );
    const { messages } = await response.json();
    return c.json({ messages }, response.status);
  },
);

serve({ fetch: app.fetch, port, hostname: host });
