/**
 * Traffic of a soak run: valid messages and hostile requests, with the answers that are expected.
 */
import { connect } from "node:net";

import type { Pool } from "undici";

import { mintToken } from "../support/session-tokens.ts";

/** One sender: a user with a chat of its own, so that senders do not wait for one another. */
export interface Sender {
  readonly pool: Pool;
  readonly port: number;
  readonly token: string;
  readonly chatId: string;
  /** A text that no message had before. */
  readonly nextContent: () => string;
}

/** An answer, and the expected answers. */
export interface Outcome {
  readonly kind: string;
  /** 0 if the connection closed without an answer. */
  readonly status: number;
  readonly expected: readonly number[];
  /** The message, if the answer is 201. */
  readonly taken?: string;
}

const JSON_TYPE = "application/json";

interface Given {
  readonly method?: "GET" | "POST" | "PUT";
  readonly path?: string;
  readonly authorization?: string;
  readonly type?: string;
  readonly body?: string;
}

async function request(sender: Sender, given: Given): Promise<number> {
  const { statusCode, body } = await sender.pool.request({
    method: given.method ?? "POST",
    path: given.path ?? `/chat/${sender.chatId}/send`,
    headers: {
      authorization: given.authorization ?? `Bearer ${sender.token}`,
      "content-type": given.type ?? JSON_TYPE,
    },
    body: given.method === "GET" ? null : (given.body ?? '{"content":"hi"}'),
  });
  await body.dump();
  return statusCode;
}

export async function sendRightly(sender: Sender): Promise<Outcome> {
  const content = sender.nextContent();
  const status = await request(sender, { body: JSON.stringify({ content }) });
  const outcome = { kind: "message", status, expected: [201] };
  return status === 201 ? { ...outcome, taken: content } : outcome;
}

/** An unsigned token (RFC 8725 section 2.1). */
const UNSIGNED = `${Buffer.from('{"alg":"none"}').toString("base64url")}.e30.`;
const HUGE = JSON.stringify({ content: "x".repeat(40_000) });
const DEEP = `${"[".repeat(10_000)}${"]".repeat(10_000)}`;

const wrongRequests: readonly (readonly [kind: string, expected: number[], given: Given])[] = [
  ["no session", [401], { authorization: "" }],
  ["a made-up token", [401], { authorization: "Bearer a.b.c" }],
  ["an unsigned token", [401], { authorization: `Bearer ${UNSIGNED}` }],
  ["a token over 8 KiB", [401], { authorization: `Bearer ${"x".repeat(9_000)}` }],
  ["a body over the limit", [413], { body: HUGE }],
  ["nested arrays", [400], { body: DEEP }],
  ["no JSON", [400], { body: "{" }],
  ["a workspace of its own choice", [400], { body: '{"content":"hi","workspaceId":43}' }],
  ["another type", [415], { type: "text/plain" }],
  ["a chat id with dots", [400, 404], { path: "/chat/%2e%2e%2fx/send" }],
  ["an unknown path", [404], { method: "GET", path: "/admin/.env" }],
  ["metrics on the public port", [404], { method: "GET", path: "/metrics" }],
  ["another method", [405], { method: "PUT" }],
];

export async function sendWrongly(sender: Sender, choice: number): Promise<Outcome> {
  const all = wrongRequests.length + rawRequests.length;
  const index = Math.floor(choice * all);
  const wrong = wrongRequests[index];
  if (wrong !== undefined) {
    const [kind, expected, given] = wrong;
    return { kind, expected, status: await request(sender, given) };
  }
  const [kind, expected, render] = rawRequests[index - wrongRequests.length] ?? rawRequests[0];
  const waitMs = expected.includes(0) ? HANG_MS : ANSWER_MS;
  return { kind, expected, status: await sendRaw(sender.port, render(sender), waitMs) };
}

const head = (sender: Sender, rest: string) =>
  `POST /chat/${sender.chatId}/send HTTP/1.1\r\nHost: soak\r\nAuthorization: Bearer ${sender.token}\r\n` +
  `Content-Type: ${JSON_TYPE}\r\n${rest}\r\n`;

type RawRequest = readonly [kind: string, expected: number[], render: (sender: Sender) => string];

/**
 * Requests that no client library sends. The last two clients hang up early, so there is no answer.
 */
const rawRequests: readonly [RawRequest, ...RawRequest[]] = [
  ["no HTTP", [400], () => "\u0016\u0003\u0001 nonsense\r\n\r\n"],
  ["two lengths", [400], (s) => head(s, "Content-Length: 2\r\nContent-Length: 3\r\n") + "{}"],
  ["no host", [400], () => "GET /healthz HTTP/1.1\r\n\r\n"],
  ["endless headers", [400, 431], (s) => head(s, `X-A: ${"x".repeat(70_000)}\r\n`)],
  ["a body that stops", [0], (s) => head(s, "Content-Length: 100\r\n") + '{"con'],
  ["a chunk that stops", [0], (s) => head(s, "Transfer-Encoding: chunked\r\n") + "ff\r\n{"],
];

/** How long a client stays that never completes its request, in milliseconds. */
const HANG_MS = 200;
/** Time-out of an answer, in milliseconds. */
const ANSWER_MS = 5_000;

function sendRaw(port: number, text: string, waitMs: number): Promise<number> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => socket.write(text));
    const finish = (status: number) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(status);
    };
    const timer = setTimeout(finish, waitMs, 0);
    // "HTTP/1.1 400"
    socket.once("data", (chunk) => finish(Number(chunk.toString("latin1", 9, 12))));
    socket.once("error", () => finish(0));
    socket.once("close", () => finish(0));
  });
}

export async function createSender(
  pool: Pool,
  port: number,
  number: number,
  nextContent: () => string,
): Promise<Sender> {
  const token = await mintToken({ sub: `soak-${number}`, workspace: "senders" });
  return { pool, port, token, chatId: `soak-${number}`, nextContent };
}
