/** Renders the requests of the load, one per session: messages, repeats, and what is refused. */
import { createSession, ORIGIN, type Session } from "./sessions.ts";

/** What a request is; the comment has the status of its answer. */
export type RequestKind =
  | "send" // 201
  | "keyed" // 201; a new `Idempotency-Key` for each message
  | "replay" // 201; the same key again: the stored answer
  | "direct" // 201; to the upstream itself
  | "no session" // 401
  | "forged session" // 401
  | "no workspace" // 403
  | "too large" // 413
  | "over limit"; // 429, from a service whose limit is used up

const STATUSES: Readonly<Record<RequestKind, number>> = {
  send: 201,
  keyed: 201,
  replay: 201,
  direct: 201,
  "no session": 401,
  "forged session": 401,
  "no workspace": 403,
  "too large": 413,
  "over limit": 429,
};

/** Larger than any number of connections. */
export const SESSIONS = 4_096;

const CONTENT = "Hello, where is my order? I was told it would be here last week already.";
/** More than the service reads by default. */
const LARGE_CONTENT = "a".repeat(70_000);
const KEY_CHARS = 36;
const KEY_HEADER = "Idempotency-Key: ";

/** The requests of one kind. */
export interface Requests {
  /** The status of every answer. */
  readonly status: number;
  /** The bytes of the next request of a session, 0 to `SESSIONS` - 1. */
  next(number: number): Buffer;
}

const rendered = new Map<RequestKind, Requests>();

/** The requests of a kind; rendered once. */
export function requestsOf(kind: RequestKind): Requests {
  const known = rendered.get(kind);
  if (known !== undefined) return known;
  const requests = createRequests(kind);
  rendered.set(kind, requests);
  return requests;
}

function createRequests(kind: RequestKind): Requests {
  const all = Array.from({ length: SESSIONS }, (_, number) => render(kind, number));
  let keys = 0;
  return {
    status: STATUSES[kind],
    next(number) {
      const bytes = all[number];
      if (bytes === undefined) throw new Error("there is no such session");
      if (kind !== "keyed") return bytes;
      keys += 1;
      const key = `${process.pid}-${keys}-`.padEnd(KEY_CHARS, "k");
      bytes.write(key, bytes.indexOf(KEY_HEADER) + KEY_HEADER.length, "latin1");
      return bytes;
    },
  };
}

function render(kind: RequestKind, number: number): Buffer {
  const session = createSession(number, kind === "no workspace" ? "unlisted" : undefined);
  if (kind === "direct") return renderDirect(session);
  const { chatId } = session;
  const headers = [
    ...credentials(kind, session),
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Accept: application/json",
    "Accept-Language: en-GB,en;q=0.5",
    `Origin: ${ORIGIN}`,
    "Sec-Fetch-Site: cross-site",
    `X-Forwarded-For: 203.0.${113 + (number >> 8)}.${number & 255}`,
  ];
  if (kind === "keyed" || kind === "replay") headers.push(KEY_HEADER + "r".repeat(KEY_CHARS));
  const content = kind === "too large" ? LARGE_CONTENT : CONTENT;
  return renderRequest(`/chat/${chatId}/send`, headers, { content });
}

function credentials(kind: RequestKind, { token }: Session): string[] {
  if (kind === "no session") return [];
  return [`Authorization: Bearer ${kind === "forged session" ? forge(token) : token}`];
}

function forge(token: string): string {
  return `${token.slice(0, -4)}AAAA`;
}

function renderDirect({ chatId, workspaceId }: Session): Buffer {
  const path = `/api/chats/${chatId}/completions`;
  return renderRequest(path, ["Authorization: Bearer direct"], { workspaceId, content: CONTENT });
}

function renderRequest(path: string, headers: readonly string[], body: object): Buffer {
  const text = JSON.stringify(body);
  const lines = [
    `POST ${path} HTTP/1.1`,
    "Host: bench.example",
    ...headers,
    "Content-Type: application/json",
    `Content-Length: ${Buffer.byteLength(text)}`,
  ];
  return Buffer.from(`${lines.join("\r\n")}\r\n\r\n${text}`);
}
