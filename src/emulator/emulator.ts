// The emulator: stands for the UponAI API in tests and can fail in every way a network and a server
// can. It does not listen; listen.ts does. It shares no code with the product, so that an error in
// reading the API's description is not in both.
import { setTimeout as sleep } from "node:timers/promises";
import { type Context, Hono } from "hono";
import { addApiRoutes } from "./api-routes.ts";
import { ChatStore } from "./chat-store.ts";
import { ConnectionCut, cutConnection, type EmulatorEnv } from "./connection.ts";
import { addControlRoutes, type Controls } from "./control-routes.ts";
import { type Fault, type FaultOptions, FaultQueue, faultRequestSchema } from "./faults.ts";
import { type MessageCount, MessageCounts, type RecordedRequest, RequestLog } from "./records.ts";
import { Refusal } from "./refusal.ts";

interface EmulatorChat {
  readonly chatId: string;
  readonly workspaceId: number;
  /** Default `agent`. */
  readonly agentId?: string;
}

export interface EmulatorOptions {
  /** The ids of the workspaces that each token reaches. */
  readonly tokens: Readonly<Record<string, readonly number[]>>;
  /**
   * The ids of the agents of each workspace, for `create chat`. A workspace that is not listed has
   * none. Default: every agent id exists in every workspace.
   */
  readonly agents?: Readonly<Record<number, readonly string[]>>;
  /** Chats that exist from the start, and again after a reset. */
  readonly chats?: readonly EmulatorChat[];
}

export interface Emulator {
  /**
   * All routes. Without a socket, a fault that breaks it makes `app.fetch` reject, as `fetch` does.
   */
  readonly app: Hono<EmulatorEnv>;
  /** Adds a chat. It replaces a chat with the same id. */
  addChat(chat: EmulatorChat): void;
  /** Queues a fault for the next matching requests. Throws on a malformed one. */
  addFault(fault: Fault, options?: FaultOptions): void;
  clearFaults(): void;
  /**
   * How often each message arrived and was taken; the last 10,000 distinct ones, fewer if they are
   * long.
   */
  messages(filter?: { readonly chatId?: string }): readonly MessageCount[];
  /**
   * The last 10,000 requests (fewer if they are long), in the order in which their bodies were
   * complete. Requests to the emulator's own routes are left out.
   */
  requests(): readonly RecordedRequest[];
  /**
   * Deletes messages, requests and faults, and restores the initial chats. Requests that wait in a
   * delay are cut off, so that a late message of one test does not appear in the next test's chat.
   */
  reset(): void;
}

/**
 * Creates an emulator.
 *
 * @param ended cuts off every request that waits in a delay, so that no timer outlives the server
 */
export function createEmulator(options: EmulatorOptions, ended?: AbortSignal): Emulator {
  const chats = new ChatStore(options.chats ?? []);
  const counts = new MessageCounts();
  const faults = new FaultQueue();
  const log = new RequestLog();
  let waits = new AbortController();
  ended?.addEventListener("abort", () => {
    waits.abort();
  });

  const controls: Controls & Omit<Emulator, "app"> = {
    addChat: (chat) => {
      chats.add(chat);
    },
    addFault: (fault, faultOptions) => {
      controls.queueFault({ ...faultOptions, fault });
    },
    queueFault: (request) => {
      faults.add(faultRequestSchema.parse(request));
    },
    clearFaults: () => {
      faults.clear();
    },
    messages: (filter) => counts.list(filter?.chatId),
    requests: () => log.list(),
    reset: () => {
      waits.abort();
      waits = new AbortController();
      chats.reset();
      counts.clear();
      faults.clear();
      log.clear();
    },
  };

  const app = new Hono<EmulatorEnv>();
  app.onError(answerError);
  app.notFound((c) => c.json({ error: "no such operation" }, 404));
  app.use(async (c, next) => {
    const body = await c.req.text().catch(() => undefined);
    if (!c.req.path.startsWith("/emulator/")) log.add(c, c.env, body ?? "");
    // The client has left before its body was complete, so no answer is possible.
    if (body === undefined) throw new ConnectionCut();
    c.set("body", body);
    await next();
  });
  const wait = async (delayMs = 0): Promise<void> => {
    if (delayMs === 0) return;
    await sleep(delayMs, undefined, { signal: waits.signal }).catch(() => {
      throw new ConnectionCut();
    });
  };
  const tokens = new Map(Object.entries(options.tokens));
  addApiRoutes(app, { tokens, agents: options.agents, chats, counts, faults, wait });
  addControlRoutes(app, controls);
  return { app, ...controls };
}

/** Turns an error of any route into a refusal, a broken connection or a report of a defect. */
function answerError(error: Error, c: Context<EmulatorEnv>): Response {
  if (error instanceof Refusal) return c.json({ error: error.message }, error.status);
  if (error instanceof ConnectionCut) return cutConnection(c.env, error);
  // A defect in the emulator must not pass for a fault that a test asked for.
  console.error(error);
  return c.json({ error: "the emulator itself failed, see its output" }, 500);
}
