/**
 * One chat and one subject per test in a shared emulator, so that tests can run at the same time.
 */
import type { Fault, Operation } from "../../src/emulator/faults.ts";
import type { RunningEmulator } from "../../src/emulator/listen.ts";
import { sendMessage, UPSTREAM_TOKEN } from "./bff-fixture.ts";
import { mintToken } from "./session-tokens.ts";

export interface TestChat {
  readonly chatId: string;
  /** Default subject of the messages. */
  readonly subject: string;
  send(url: string, content: string, options?: ChatSendOptions): Promise<Response>;
  /** A header with a session of the subject. */
  credentials(): Promise<{ readonly Authorization: string }>;
  /** Adds a fault to this chat only; by default to completions. */
  addFault(fault: Fault, options?: { operation?: Operation; times?: number }): void;
  /** Consumes the remaining faults for reading this chat. */
  endReadFaults(): Promise<void>;
  /** Returns how often a message arrived at UponAI and how often it was taken. */
  counts(content: string): { readonly arrived: number; readonly taken: number };
  /** Returns how often this chat was read at UponAI. */
  reads(): number;
}

export interface ChatSendOptions {
  /** The `Idempotency-Key`. */
  readonly key?: string;
  readonly subject?: string;
  readonly requestId?: string;
  readonly signal?: AbortSignal;
}

let made = 0;

export function createTestChat(emulator: RunningEmulator): TestChat {
  made += 1;
  const chatId = `chat-of-${made}`;
  const owner = `subject-${made}`;
  emulator.addChat({ chatId, workspaceId: 42 });
  return {
    chatId,
    subject: owner,
    send(url, content, { key, subject = owner, requestId, signal } = {}) {
      const headers: Record<string, string> = {};
      if (key !== undefined) headers["Idempotency-Key"] = key;
      if (requestId !== undefined) headers["X-Request-Id"] = requestId;
      const hangUp = signal === undefined ? {} : { signal };
      return sendMessage(url, content, { subject, chatId, headers, ...hangUp });
    },
    credentials: async () => ({ Authorization: `Bearer ${await mintToken({ sub: owner })}` }),
    addFault(fault, { operation = "completion", times = 1 } = {}) {
      emulator.addFault(fault, { operation, chatId, times });
    },
    async endReadFaults() {
      const url = `${emulator.url}/api/chats/${chatId}?workspaceId=42`;
      const headers = { Authorization: `Bearer ${UPSTREAM_TOKEN}` };
      while (!(await fetch(url, { headers })).ok);
    },
    counts(content) {
      const found = emulator.messages({ chatId }).find((message) => message.content === content);
      return { arrived: found?.arrived ?? 0, taken: found?.taken ?? 0 };
    },
    reads: () =>
      emulator
        .requests()
        .filter(({ method, path }) => method === "GET" && path === `/api/chats/${chatId}`).length,
  };
}

/** The parts of an answer that tell how it came about. */
export interface Told {
  readonly status: number;
  readonly recovered: boolean;
  readonly replayed: boolean;
  /** Code of a problem; undefined for a success. */
  readonly code: string | undefined;
  readonly text: string;
}

export async function tell(answering: Response | Promise<Response>): Promise<Told> {
  const { status, headers, ...answer } = await describe(answering);
  return {
    status,
    recovered: headers.get("message-recovered") === "true",
    replayed: headers.get("idempotency-replayed") === "true",
    ...answer,
  };
}

async function describe(answering: Response | Promise<Response>) {
  const answer = await answering;
  const text = await answer.text();
  const { code } = JSON.parse(text) as { code?: string };
  return { status: answer.status, headers: answer.headers, code, text };
}
