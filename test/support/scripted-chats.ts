/**
 * A scripted UponAI in this process. Tests can read and change its chats, and let each call fail
 * before or after its effect.
 */
import type { UpstreamReply, UpstreamRequest } from "../../src/upstream/transport.ts";

export type Operation = "complete" | "create" | "get" | "end";

export interface ScriptedMessage {
  readonly role?: string | null;
  readonly content?: string | null;
  readonly name?: string | null;
  readonly tool_calls?: readonly object[];
}

/** A chat as UponAI stores it. Members that must not be passed on are added to each answer. */
export interface ScriptedChat {
  readonly messages: ScriptedMessage[];
  metadata?: unknown;
  status: string;
  startedAt: unknown;
  endedAt: unknown;
}

/**
 * Replaces the usual behaviour of a call: a reply without effect, or a function that runs instead.
 */
export type Turn =
  UpstreamReply | ((usual: () => UpstreamReply) => UpstreamReply | Promise<UpstreamReply>);

export interface ScriptedChats {
  readonly chats: Map<string, ScriptedChat>;
  /** All calls so far. */
  readonly calls: { readonly operation: Operation; readonly request: UpstreamRequest }[];
  readonly answer: (request: UpstreamRequest) => UpstreamReply | Promise<UpstreamReply>;
  /** Replaces the next calls of an operation, one turn each. */
  next(operation: Operation, ...turns: Turn[]): void;
  /** Replaces all calls of an operation; undefined restores the usual behaviour. */
  always(operation: Operation, turn: Turn | undefined): void;
  /** Number of calls of this operation so far. */
  count(operation: Operation): number;
  /** Adds a chat that exists at UponAI. */
  add(chatId: string, chat?: Partial<ScriptedChat>): ScriptedChat;
}

export const STARTED_AT = "2026-04-20T12:00:00Z";

/** Members of UponAI's chat object that a browser must not see. */
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

/** The call has its effect, and then gets this reply. */
export function taken(reply: UpstreamReply): Turn {
  return (usual) => {
    usual();
    return reply;
  };
}

/** @param chatIds chats that exist from the start */
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

/** A call to a path that UponAI does not have is a bug of the product. */
function readOperation({ method, path }: UpstreamRequest): Operation {
  if (method === "POST" && path === "/api/chats") return "create";
  if (method === "POST" && /^\/api\/chats\/[\w-]+\/completions$/.test(path)) return "complete";
  if (method === "POST" && /^\/api\/chats\/[\w-]+\/end$/.test(path)) return "end";
  if (method === "GET" && /^\/api\/chats\/[\w-]+\?workspaceId=\d+$/.test(path)) return "get";
  throw new Error(`UponAI has no ${method} ${path}`);
}
