// The floor plus the least work that this job needs: an HMAC check of the session token, with a cache
// of verified tokens, and one admission by a hand-written script in Redis.
import { createHmac, timingSafeEqual } from "node:crypto";

import { Redis } from "ioredis";

import { complete, present, serve } from "./floor-parts.js";
import { audience, issuer, QUOTA, redisUrl, secret, WINDOW_MS, workspaces } from "./settings.js";

const REMEMBERED_MAX = 20_000;
const verified = new Map();

function verify(authorization) {
  if (!authorization?.startsWith("Bearer ")) return undefined;
  const token = authorization.slice(7);
  let claims = verified.get(token);
  if (claims === undefined) {
    claims = check(token);
    if (claims === undefined) return undefined;
    if (verified.size >= REMEMBERED_MAX) verified.delete(verified.keys().next().value);
    verified.set(token, claims);
  }
  return claims.exp > Date.now() / 1_000 ? claims : undefined;
}

function check(token) {
  const [header, payload, signature, ...rest] = token.split(".");
  if (signature === undefined || rest.length > 0) return undefined;
  const expected = createHmac("sha256", secret).update(`${header}.${payload}`).digest();
  const given = Buffer.from(signature, "base64url");
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) return undefined;
  if (JSON.parse(Buffer.from(header, "base64url")).alg !== "HS256") return undefined;
  const claims = JSON.parse(Buffer.from(payload, "base64url"));
  return claims.iss === issuer && claims.aud === audience ? claims : undefined;
}

// Checks three limits (subject, workspace, address) in one step. Each is one number: the time at which
// it has its full quota again.
const ADMIT = `
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local held = redis.call('MGET', unpack(KEYS))
for i = 1, #KEYS do
  held[i] = math.max(tonumber(held[i] or 0), now) + ARGV[1]
  if held[i] - now > tonumber(ARGV[2]) then return 0 end
end
for i = 1, #KEYS do
  redis.call('SET', KEYS[i], string.format('%.0f', held[i]), 'PX', math.ceil((held[i] - now) / 1000))
end
return 1
`;
const redis = new Redis(redisUrl, { enableAutoPipelining: true });
redis.defineCommand("admit", { numberOfKeys: 3, lua: ADMIT });
const windowUs = WINDOW_MS * 1_000;

serve(async (request, chatId, content) => {
  const claims = verify(request.headers.authorization);
  if (claims === undefined) return { status: 401, text: "{}" };
  const workspaceId = workspaces.get(claims.workspace);
  if (workspaceId === undefined) return { status: 403, text: "{}" };
  const address = request.headers["x-forwarded-for"];
  const admitted = await redis.admit(
    `floor:{${workspaceId}}:s:${claims.sub}`,
    `floor:{${workspaceId}}:w`,
    `floor:{${workspaceId}}:a:${address}`,
    windowUs / QUOTA,
    windowUs,
  );
  if (admitted !== 1) return { status: 429, text: "{}" };
  return present(await complete(chatId, workspaceId, content));
});
