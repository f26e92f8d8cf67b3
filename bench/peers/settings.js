// The settings of every peer, from the product's own variables.
export const port = Number(process.env.PORT);
export const host = process.env.HOST;
export const redisUrl = process.env.REDIS_URL;
export const upstreamOrigin = process.env.UPONAI_BASE_URL;
export const upstreamToken = process.env.UPONAI_API_TOKEN;
export const secret = process.env.SESSION_SECRET;
export const issuer = process.env.SESSION_ISSUER;
export const audience = process.env.SESSION_AUDIENCE;
/** Workspace ids by value of the session's workspace claim. */
export const workspaces = new Map(Object.entries(JSON.parse(process.env.WORKSPACES)));

/** Never reached: the bench measures how limits are checked, not refusals. */
export const QUOTA = 1_000_000;
export const WINDOW_MS = 60_000;
