// The whole job of the product, written by hand in one file: bare node:http, undici, ioredis, the
// product's own two scripts, and one pino line per request. It is the least that the product can cost
// with these libraries. It leaves out what a request that goes well does not need: retries, circuits,
// recovery, bounds on hostile clients.
import { createHmac, hash, randomUUID, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

import { Redis } from "ioredis";
import pino from "pino";
import { Pool } from "undici";

import { admitScript } from "../../src/admission/lua/admit.ts";
import { settleSenderScript } from "../../src/admission/lua/settle-sender.ts";
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

const digest = (text) => hash("sha256", text, "base64url");

// The session: a signed token, verified once and then found by its text.

const REMEMBERED_MAX = 20_000;
const verified = new Map();

function authenticate(authorization) {
  if (!authorization?.startsWith("Bearer ")) return undefined;
  const token = authorization.slice(7);
  let session = verified.get(token);
  if (session === undefined) {
    session = verify(token);
    if (session === undefined) return undefined;
    if (verified.size >= REMEMBERED_MAX) verified.delete(verified.keys().next().value);
    verified.set(token, session);
  }
  return session.expiresAtMs > Date.now() ? session : undefined;
}

function verify(token) {
  const [header, payload, signature, ...rest] = token.split(".");
  if (signature === undefined || rest.length > 0) return undefined;
  const expected = createHmac("sha256", secret).update(`${header}.${payload}`).digest();
  const given = Buffer.from(signature, "base64url");
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) return undefined;
  if (JSON.parse(Buffer.from(header, "base64url")).alg !== "HS256") return undefined;
  const claims = JSON.parse(Buffer.from(payload, "base64url"));
  if (claims.iss !== issuer || claims.aud !== audience) return undefined;
  return {
    workspace: claims.workspace,
    subject: digest(claims.sub).slice(0, 22),
    session: digest(JSON.stringify(["sid", claims.sid, claims.sub])).slice(0, 22),
    subjectHash: createHmac("sha256", secret).update(claims.sub).digest("base64url").slice(0, 16),
    issuedAtMs: claims.iat * 1_000,
    expiresAtMs: claims.exp * 1_000,
  };
}

// Admission and settlement: the product's scripts, with their arguments written out.

const redis = new Redis(redisUrl);
for (const { name, lua } of [admitScript, settleSenderScript]) redis.defineCommand(name, { lua });

/** Sends the commands of one turn of the event loop in one write. */
let held = false;
function gather() {
  if (held) return;
  held = true;
  const { stream } = redis;
  stream.cork();
  setImmediate(() => {
    held = false;
    stream.uncork();
  });
}

const INTERVAL_US = Math.ceil((WINDOW_MS * 1_000) / QUOTA);
const WINDOW_US = QUOTA * INTERVAL_US;
const OWNER_KEPT_US = 30 * 86_400_000_000;
const DEADLINE_US = 5_000_000;
const POLICIES = ["session", "session-daily", "workspace", "ip"];
const POLICY_HEADER = POLICIES.map((name) => `"${name}";q=${QUOTA};w=${WINDOW_MS / 1_000}`).join();
// Kept times; budgets of stored answers; the limit on replays; then of each limit its key, its slot,
// its interval and its tolerance.
const FIXED = `${OWNER_KEPT_US},180000000,84375000,8437500,6,${INTERVAL_US},${WINDOW_US},3663,60000000`;
const limitAt = (key, slot) => `${key},${slot},${INTERVAL_US},${WINDOW_US}`;
const numbersWith = (addressAt) =>
  `[${FIXED},${limitAt(2, 4)},${limitAt(2, 5)},${limitAt(3, 4)},${limitAt(addressAt, 1)}]`;
const NUMBERS = numbersWith(5);
const NUMBERS_KEYED = numbersWith(6);

async function admit({ session, workspaceId, chatId, address, message }) {
  const tag = `full:{ws:${workspaceId}}`;
  const { token, fingerprint, keyDigest } = message;
  const keyed = keyDigest !== undefined;
  const keys = [`${tag}:r:${session.session}`, `${tag}:u:${session.subject}`, `${tag}:w2`];
  keys.push(`${tag}:c2:${chatId}`);
  if (keyed) keys.push(`${tag}:k:${keyDigest}`);
  keys.push(`${tag}:a:${address}`);
  gather();
  const [verdict, nowUs, chat, key, , ...tats] = await redis.bffAdmit(
    keys.length,
    ...keys,
    (Date.now() + DEADLINE_US / 1_000) * 1_000,
    session.issuedAtMs,
    "first-use",
    session.subject,
    token,
    fingerprint,
    keyDigest ?? token,
    keyed ? "1" : "",
    keyed ? NUMBERS_KEYED : NUMBERS,
  );
  let standings = "";
  for (let at = 0; at < POLICIES.length; at += 1) {
    const aheadUs = Math.max(tats[at] - nowUs, 0);
    const left = Math.floor((WINDOW_US - aheadUs) / INTERVAL_US);
    const seconds = Math.ceil((aheadUs - WINDOW_US + (left + 1) * INTERVAL_US) / 1_000_000);
    standings += `${at === 0 ? "" : ", "}"${POLICIES[at]}";r=${left};t=${seconds}`;
  }
  const headers = { "RateLimit-Policy": POLICY_HEADER, RateLimit: standings };
  if (verdict === REPLAYED) {
    const answer = key.slice(key.indexOf(" ", 2) + 3);
    return { kind: "replayed", answer, headers };
  }
  if (verdict !== ADMITTED) return { kind: "refused", headers };
  const [owner, , , sends, state] = chat.split(" ");
  return { kind: "admitted", headers, provisional: owner.startsWith("p"), sends, state };
}

/** Verdicts of the script. */
const ADMITTED = 1;
const REPLAYED = 6;

async function settle({ session, workspaceId, chatId, message }, admitted, answer, states) {
  const tag = `full:{ws:${workspaceId}}`;
  const { token, fingerprint, keyDigest } = message;
  const keyed = keyDigest !== undefined;
  const keys = [`${tag}:c2:${chatId}`];
  if (keyed) keys.push(`${tag}:k:${keyDigest}`);
  gather();
  return redis.bffSettle(
    keys.length,
    ...keys,
    keyed ? `m ${answer}` : "",
    `["${token}","${fingerprint}","${keyDigest ?? token}","taken",false,${admitted.sends},` +
      `${OWNER_KEPT_US},"${session.subject}","${admitted.provisional ? "f" : ""}",` +
      `"${states.after}","${states.before}","-",${keyed},0,0,0]`,
  );
}

// UponAI: one request through undici's cheapest interface.

const pool = new Pool(upstreamOrigin);

class Call {
  #resolve;
  #reject;
  #status = 0;
  #chunks = [];

  constructor(resolve, reject) {
    this.#resolve = resolve;
    this.#reject = reject;
  }

  onRequestStart() {}

  onResponseStart(_controller, status) {
    this.#status = status;
  }

  onResponseData(_controller, chunk) {
    this.#chunks.push(chunk);
  }

  onResponseEnd() {
    const [only] = this.#chunks;
    const bytes = this.#chunks.length === 1 ? only : Buffer.concat(this.#chunks);
    this.#resolve({ status: this.#status, text: bytes.toString() });
  }

  onResponseError(_controller, error) {
    this.#reject(error);
  }
}

function ask(method, path, body, requestId) {
  return new Promise((resolve, reject) => {
    const headers = {
      authorization: `Bearer ${upstreamToken}`,
      accept: "application/json",
      "x-request-id": requestId,
      "content-type": "application/json",
    };
    pool.dispatch({ method, path, headers, body }, new Call(resolve, reject));
  });
}

async function complete(chatId, workspaceId, content, requestId) {
  const body = JSON.stringify({ workspaceId, content });
  const reply = await ask("POST", `/api/chats/${chatId}/completions`, body, requestId);
  return { status: reply.status, messages: JSON.parse(reply.text).messages };
}

// The state of the transcript, which a message with a key needs: how many messages, and a digest.

async function readState(chatId, workspaceId, requestId) {
  const path = `/api/chats/${chatId}?workspaceId=${workspaceId}`;
  const { status, text } = await ask("GET", path, null, requestId);
  if (status !== 200) return "-";
  const { messages = [] } = JSON.parse(text);
  return advance("0:none", messages);
}

function advance(state, messages) {
  let [count, sum] = state.split(":");
  for (const { role, content } of messages) {
    sum = digest(JSON.stringify([sum, role ?? "assistant", content ?? ""])).slice(0, 11);
  }
  count = Number(count) + messages.length;
  return `${count}:${sum}`;
}

// The answer: the headers that every answer has, and one log line.

const log = pino(
  { base: null, timestamp: pino.stdTimeFunctions.isoTime },
  pino.destination({ dest: 1, sync: false, minLength: 4_096 }),
);

const COMMON = {
  "Cache-Control": "no-store",
  "X-Content-Type-Options": "nosniff",
  "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
  "Referrer-Policy": "no-referrer",
  "Cross-Origin-Resource-Policy": "same-origin",
  "Strict-Transport-Security": "max-age=63072000",
  "Access-Control-Allow-Credentials": "true",
  "Access-Control-Expose-Headers": "X-Request-Id, Retry-After, RateLimit, RateLimit-Policy",
  Vary: "Origin",
};

export const PATH = /^\/chat\/([A-Za-z0-9_-]{1,128})\/send$/;

/** @param parts what does each step of a message; the ladder replaces them one at a time */
export function createSend({ authenticate, admit, complete, settle }) {
  return async (request, chatId, text, fields) => {
    const session = await authenticate(request.headers.authorization);
    if (session === undefined) return { status: 401, body: "{}" };
    fields.subjectHash = session.subjectHash;
    const workspaceId = workspaces.get(session.workspace);
    if (workspaceId === undefined) return { status: 403, body: "{}" };
    fields.workspace = workspaceId;
    const { content } = JSON.parse(text);
    if (typeof content !== "string" || content === "") return { status: 422, body: "{}" };
    const { reqId } = fields;
    const key = request.headers["idempotency-key"];
    const scope = [workspaceId, session.subject, chatId, key];
    const message = {
      token: randomUUID(),
      fingerprint: digest(JSON.stringify(content)).slice(0, 22),
      keyDigest: key === undefined ? undefined : digest(JSON.stringify(scope)).slice(0, 22),
    };
    const address = request.headers["x-forwarded-for"];
    const question = { session, workspaceId, chatId, address, message };
    const admitted = await admit(question);
    const { headers } = admitted;
    if (admitted.kind === "replayed") {
      const replayed = { ...headers, "Idempotency-Replayed": "true" };
      return { status: 201, body: admitted.answer, headers: replayed };
    }
    if (admitted.kind !== "admitted") return { status: 429, body: "{}", headers };
    let before = admitted.state;
    if (key !== undefined && before === "-") before = await readState(chatId, workspaceId, reqId);
    const startedMs = performance.now();
    const reply = await complete(chatId, workspaceId, content, reqId);
    fields.upstreamStatus = reply.status;
    fields.upstreamMs = Math.round((performance.now() - startedMs) * 100) / 100;
    if (reply.status !== 201) return { status: 502, body: "{}", headers };
    const presented = [];
    for (const { role, content: words } of reply.messages) {
      presented.push({ role, content: words });
    }
    const body = JSON.stringify({ messages: presented });
    const added = [{ role: "user", content }, ...reply.messages];
    const after = before === "-" ? "-" : advance(before, added);
    await settle(question, admitted, body, { before, after });
    return { status: 201, body, headers };
  };
}

/** Serves over bare node:http. */
export function serve(send, writeLine) {
  const server = createServer((request, response) => {
    const startedMs = performance.now();
    const chatId = PATH.exec(request.url)?.[1];
    if (request.method !== "POST" || chatId === undefined) {
      response.writeHead(404).end();
      return;
    }
    const chunks = [];
    request.on("data", (chunk) => chunks.push(chunk));
    request.on("end", async () => {
      const fields = { reqId: randomUUID(), method: "POST", route: "/chat/:chatId/send" };
      const bytes = chunks.length === 1 ? chunks[0] : Buffer.concat(chunks);
      let answer;
      try {
        answer = await send(request, chatId, bytes, fields);
      } catch (error) {
        console.error(error);
        answer = { status: 500, body: "{}" };
      }
      const { status, body, headers } = answer;
      response.writeHead(status, {
        ...COMMON,
        "Access-Control-Allow-Origin": request.headers.origin ?? "null",
        "X-Request-Id": fields.reqId,
        ...headers,
        "Content-Type": "application/json",
        "Content-Length": Buffer.byteLength(body),
      });
      response.end(body);
      fields.status = status;
      fields.ms = Math.round((performance.now() - startedMs) * 100) / 100;
      writeLine(fields);
    });
  });
  server.listen(port, host);
}

/** Writes one log line per request. */
export const writeLine = (fields) => log.info(fields, "request");

export const parts = { authenticate, admit, complete, settle };
if (import.meta.main) serve(createSend(parts), writeLine);
