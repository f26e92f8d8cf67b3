/**
 * The scripted upstream of a whole chat service, in this process: its chats can be looked into and
 * changed, and any call can be made to go wrong, before or after it had its effect.
 */
import type { UpstreamReply, UpstreamRequest } from "../../src/upstream/transport.ts";

export type Operation = "complete" | "create" | "get" | "end";

export interface ScriptedMessage {
  readonly role?: string | null;
  readonly content?: string | null;
  readonly name?: string | null;
  readonly tool_calls?: readonly object[];
}

/** As UponAI has it; only what the product must not pass on is added to each answer. */
export interface ScriptedChat {
  readonly messages: ScriptedMessage[];
  metadata?: unknown;
  status: string;
  startedAt: unknown;
  endedAt: unknown;
}

/** What happens instead of the usual: a reply without effect, or whatever is done here. */
export type Turn =
  UpstreamReply | ((usual: () => UpstreamReply) => UpstreamReply | Promise<UpstreamReply>);

export interface ScriptedChats {
  readonly chats: Map<string, ScriptedChat>;
  /** Every call so far. */
  readonly calls: { readonly operation: Operation; readonly request: UpstreamRequest }[];
  readonly answer: (request: UpstreamRequest) => UpstreamReply | Promise<UpstreamReply>;
  /** Makes the next calls of an operation go otherwise, one turn each. */
  next(operation: Operation, ...turns: Turn[]): void;
  /** Makes all calls of an operation go otherwise, until it is undefined again. */
  always(operation: Operation, turn: Turn | undefined): void;
  /** Calls of this operation so far. */
  count(operation: Operation): number;
  /** A chat that was there before. */
  add(chatId: string, chat?: Partial<ScriptedChat>): ScriptedChat;
}

export const STARTED_AT = "2026-04-20T12:00:00Z";

/** What UponAI says of a chat beyond what a browser may see. */
const INTERNAL = {
  agentId: "internal-agent",
  version: 3,
  type: "web_chat",
  customAttributes: { note: "internal-attribute" },
  transcript: "internal-transcript",
  chatCost: { total: "internal-cost" },
  chatAnalysis: { summary: "internal-analysis" },
  collectedDynamicVariables: { name: "internal-collected" },
  uponai_dynamic_variables: { name: "internal-variable" },
  overrideDynamicVariables: { name: "internal-override" },
};

export function replyWith(status: number, body: unknown = "", retryAfter?: string): UpstreamReply {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  return { kind: "answer", status, retryAfter, body: text };
}

export const LOST: UpstreamReply = { kind: "lost" };
export const TIMEOUT: UpstreamReply = { kind: "timeout", sent: true };
export const NOT_SENT: UpstreamReply = { kind: "not_sent", reason: "connect" };

/** The call has its effect, and then this is the reply. */
export function taken(reply: UpstreamReply): Turn {
  return (usual) => {
    usual();
    return reply;
  };
}

/** @param chatIds the chats that are there from the start */
export function createScriptedChats(...chatIds: string[]): ScriptedChats {
  const chats: ScriptedChats["chats"] = new Map();
  const calls: ScriptedChats["calls"] = [];
  const turns: Record<Operation, Turn[]> = { complete: [], create: [], get: [], end: [] };
  const standing: Partial<Record<Operation, Turn>> = {};
  let started = 0;
  let answers = 0;

  const add: ScriptedChats["add"] = (chatId, more = {}) => {
    const chat: ScriptedChat = {
      messages: [],
      status: "ongoing",
      startedAt: STARTED_AT,
      endedAt: null,
      ...more,
    };
    chats.set(chatId, chat);
    return chat;
  };

  const perform = (operation: Operation, request: UpstreamRequest): UpstreamReply => {
    const body = JSON.parse(request.body ?? "{}") as { content?: string; metadata?: unknown };
    if (operation === "create") {
      started += 1;
      const chatId = `started-${started}`;
      const chat = add(chatId, { metadata: body.metadata });
      chat.messages.push({ role: "assistant", content: "Welcome" });
      return replyWith(201, { ...INTERNAL, chatId, ...chat });
    }
    const chatId = /^\/api\/chats\/([^/?]+)/.exec(request.path)?.[1] ?? "";
    const chat = chats.get(chatId);
    if (chat === undefined) return replyWith(404);
    if (operation === "get") return replyWith(200, { ...INTERNAL, chatId, ...chat });
    if (chat.status === "ended") return replyWith(409);
    if (operation === "end") {
      Object.assign(chat, { status: "ended", endedAt: STARTED_AT });
      return replyWith(204);
    }
    answers += 1;
    const answer = { role: "assistant", content: `answer ${answers}` };
    chat.messages.push({ role: "user", content: body.content ?? "" }, answer);
    return replyWith(201, { messages: [answer], chatCost: INTERNAL.chatCost });
  };

  for (const chatId of chatIds) add(chatId);
  return {
    chats,
    calls,
    answer: (request) => {
      const operation = readOperation(request);
      calls.push({ operation, request });
      const turn = turns[operation].shift() ?? standing[operation];
      const usual = () => perform(operation, request);
      if (turn === undefined) return usual();
      return typeof turn === "function" ? turn(usual) : turn;
    },
    next: (operation, ...more) => void turns[operation].push(...more),
    always: (operation, turn) => {
      if (turn === undefined) delete standing[operation];
      else standing[operation] = turn;
    },
    count: (operation) => calls.filter((call) => call.operation === operation).length,
    add,
  };
}

/** Whatever UponAI does not have is a mistake of the product's. */
function readOperation({ method, path }: UpstreamRequest): Operation {
  if (method === "POST" && path === "/api/chats") return "create";
  if (method === "POST" && /^\/api\/chats\/[\w-]+\/completions$/.test(path)) return "complete";
  if (method === "POST" && /^\/api\/chats\/[\w-]+\/end$/.test(path)) return "end";
  if (method === "GET" && /^\/api\/chats\/[\w-]+\?workspaceId=\d+$/.test(path)) return "get";
  throw new Error(`UponAI has no ${method} ${path}`);
}
