// Routes of the UponAI API and the order of their checks. The emulator's own routes are in
// control-routes.ts.
import type { Context, Hono } from "hono";
import { z } from "zod";
import { applyFault, type Call } from "./apply-fault.ts";
import type { ChatStore } from "./chat-store.ts";
import type { EmulatorEnv } from "./connection.ts";
import { type FaultQueue, parseFaultMessage } from "./faults.ts";
import type { MessageCounts } from "./records.ts";
import { Refusal } from "./refusal.ts";
import { authorize, checkReach, parseBody, parseValue, type Tokens } from "./request-checks.ts";

interface ApiState {
  readonly tokens: Tokens;
  /** Undefined: every agent exists in every workspace. */
  readonly agents: Readonly<Record<number, readonly string[]>> | undefined;
  readonly chats: ChatStore;
  readonly counts: MessageCounts;
  readonly faults: FaultQueue;
  wait: Call["wait"];
}

const workspaceSchema = z.object({ workspaceId: z.int() });
const completionSchema = z.object({ workspaceId: z.int(), content: z.string() });
const createSchema = z.object({
  workspaceId: z.int(),
  agent_id: z.string(),
  metadata: z.record(z.string(), z.unknown()).optional(),
  uponai_dynamic_variables: z.record(z.string(), z.unknown()).optional(),
});
const querySchema = z.object({
  workspaceId: z
    .string()
    .regex(/^-?(0|[1-9]\d*)$/)
    .transform(Number)
    .pipe(z.int()),
});

/**
 * Adds the routes. Each one checks the token (401), the body (415, 400) and the workspace (403),
 * and then applies a fault, so that a refused request uses up no fault. The chat is checked (404,
 * 409) when the operation runs, because a chat can end during a delay.
 */
export function addApiRoutes(app: Hono<EmulatorEnv>, state: ApiState): void {
  const { tokens, chats, counts, faults, wait } = state;
  const callOn = (c: Context<EmulatorEnv>, chatId: string, workspaceId: number) => ({
    env: c.env,
    wait,
    closeChat: () => {
      chats.find(chatId, workspaceId).close();
    },
  });

  app.post("/api/chats/:chatId/completions", (c) => {
    const reached = authorize(c, tokens);
    const chatId = c.req.param("chatId");
    const { workspaceId, content } = parseBody(c, completionSchema);
    const countTaken = counts.arrived(chatId, content);
    checkReach(reached, workspaceId);
    const run: Call["run"] = () => {
      const messages = chats.find(chatId, workspaceId).take(content);
      countTaken();
      return { status: 201, body: { messages } };
    };
    const fault = parseFaultMessage(content) ?? faults.next("completion", chatId);
    return applyFault({ ...callOn(c, chatId, workspaceId), run }, fault);
  });

  app.post("/api/chats", (c) => {
    const reached = authorize(c, tokens);
    const body = parseBody(c, createSchema);
    const { workspaceId, agent_id: agentId, metadata } = body;
    checkReach(reached, workspaceId);
    const run: Call["run"] = () => {
      if (state.agents !== undefined && !state.agents[workspaceId]?.includes(agentId)) {
        throw new Refusal(404, "no such agent");
      }
      const dynamicVariables = body.uponai_dynamic_variables;
      return {
        status: 201,
        body: chats.create({ workspaceId, agentId, metadata, dynamicVariables }),
      };
    };
    return applyFault({ env: c.env, wait, closeChat: () => undefined, run }, faults.next("create"));
  });

  app.get("/api/chats/:chatId", (c) => {
    const reached = authorize(c, tokens);
    const chatId = c.req.param("chatId");
    const { workspaceId } = parseValue(c.req.query(), querySchema);
    checkReach(reached, workspaceId);
    const run: Call["run"] = () => ({ status: 200, body: chats.find(chatId, workspaceId) });
    return applyFault({ ...callOn(c, chatId, workspaceId), run }, faults.next("get", chatId));
  });

  app.post("/api/chats/:chatId/end", (c) => {
    const reached = authorize(c, tokens);
    const chatId = c.req.param("chatId");
    const { workspaceId } = parseBody(c, workspaceSchema);
    checkReach(reached, workspaceId);
    const run: Call["run"] = () => {
      chats.find(chatId, workspaceId).end();
      return { status: 204 };
    };
    return applyFault({ ...callOn(c, chatId, workspaceId), run }, faults.next("end", chatId));
  });

  app.get("/api/workspaces", (c) =>
    c.json({ workspaces: authorize(c, tokens).map((id) => ({ id })) }),
  );
}
