/** Common fixture of tests of the running service: the emulator, a chat, and a service in front. */
import { type RunningEmulator, startEmulator } from "../../src/emulator/listen.ts";
import { expectNoCanary } from "./canary.ts";
import { type BffProcess, startBff } from "./bff-process.ts";
import { mintToken, sessionEnvironment } from "./session-tokens.ts";

export const UPSTREAM_TOKEN = "upstream-canary-token";
export const CHAT = "chat-1";

export function startTestEmulator(): Promise<RunningEmulator> {
  return startEmulator({
    tokens: { [UPSTREAM_TOKEN]: [42] },
    chats: [{ chatId: CHAT, workspaceId: 42 }],
  });
}

/** Starts a service in front of `upstreamUrl` with one workspace; all else has its default. */
export function bffEnvironment(
  upstreamUrl: string,
  more: Record<string, string> = {},
): Record<string, string> {
  return {
    ...sessionEnvironment(),
    UPONAI_BASE_URL: upstreamUrl,
    UPONAI_API_TOKEN: UPSTREAM_TOKEN,
    UPONAI_WORKSPACE_ID: "42",
    ...more,
  };
}

export function startTestBff(
  upstreamUrl: string,
  more: Record<string, string> = {},
): Promise<BffProcess> {
  return startBff(bffEnvironment(upstreamUrl, more));
}

export interface SendOptions {
  readonly subject?: string;
  readonly chatId?: string;
  readonly headers?: Record<string, string>;
  /** Signal that makes the client hang up. */
  readonly signal?: AbortSignal;
}

/** Sends a message with a new session of `subject`. */
export async function sendMessage(
  url: string,
  content: string,
  { subject = "alice", chatId = CHAT, headers = {}, signal }: SendOptions = {},
): Promise<Response> {
  const response = await fetch(`${url}/chat/${chatId}/send`, {
    method: "POST",
    headers: {
      Authorization: `Bearer ${await mintToken({ sub: subject })}`,
      "Content-Type": "application/json",
      ...headers,
    },
    body: JSON.stringify({ content }),
    ...(signal === undefined ? {} : { signal }),
  });
  expectNoCanary(`${JSON.stringify([...response.headers])} ${await response.clone().text()}`);
  return response;
}

export interface AskOptions {
  readonly subject?: string;
  readonly claims?: Record<string, unknown>;
  readonly headers?: Record<string, string>;
  /** Body, sent as JSON; undefined for none. */
  readonly body?: unknown;
}

/** Sends any other request as `subject`, such as `GET /chat/chat-1`. */
export async function ask(
  url: string,
  route: `${"GET" | "POST" | "DELETE"} /${string}`,
  { subject = "alice", claims = {}, headers = {}, body }: AskOptions = {},
): Promise<Response> {
  const [method = "GET", path = "/"] = route.split(" ");
  const token = await mintToken({ sub: subject, ...claims });
  const response = await fetch(`${url}${path}`, {
    method,
    headers: {
      Authorization: `Bearer ${token}`,
      ...(body === undefined ? {} : { "Content-Type": "application/json" }),
      ...headers,
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  expectNoCanary(`${JSON.stringify([...response.headers])} ${await response.clone().text()}`);
  return response;
}

/** The code of a problem answer. */
export async function readCode(response: Response): Promise<unknown> {
  const body = (await response.json()) as { code?: unknown };
  return body.code;
}

/** Renders a message to the chat as raw HTTP/1.1; the content is the idempotency key. */
export async function renderSend(key: string): Promise<string> {
  const body = `{"content":"${key}"}`;
  const head = [
    `POST /chat/${CHAT}/send HTTP/1.1`,
    "Host: x",
    `Authorization: Bearer ${await mintToken()}`,
    "Content-Type: application/json",
    `Idempotency-Key: ${key}`,
    `Content-Length: ${body.length}`,
  ];
  return `${head.join("\r\n")}\r\n\r\n${body}`;
}
