// The emulator's own routes, for tests in another process or language. They need no token and do
// the same as the methods of `Emulator`. They do not show the recorded requests, which hold tokens.
import type { Hono } from "hono";
import { z } from "zod";
import type { ChatSeed } from "./chat.ts";
import type { EmulatorEnv } from "./connection.ts";
import { type FaultRequest, faultRequestSchema } from "./faults.ts";
import type { MessageCount } from "./records.ts";
import { parseBody } from "./request-checks.ts";

export interface Controls {
  addChat(chat: ChatSeed): void;
  queueFault(request: FaultRequest): void;
  clearFaults(): void;
  messages(filter: { chatId?: string }): readonly MessageCount[];
  reset(): void;
}

const chatSchema = z.strictObject({
  chatId: z.string().min(1),
  workspaceId: z.int(),
  agentId: z.string().optional(),
});

/** Adds the routes under `/emulator/`. */
export function addControlRoutes(app: Hono<EmulatorEnv>, controls: Controls): void {
  app.post("/emulator/faults", (c) => {
    controls.queueFault(parseBody(c, faultRequestSchema));
    return c.body(null, 204);
  });
  app.delete("/emulator/faults", (c) => {
    controls.clearFaults();
    return c.body(null, 204);
  });
  app.get("/emulator/messages", (c) => {
    const chatId = c.req.query("chatId");
    return c.json({ messages: controls.messages(chatId === undefined ? {} : { chatId }) });
  });
  app.post("/emulator/chats", (c) => {
    const chat = parseBody(c, chatSchema);
    controls.addChat(chat);
    return c.json(chat, 201);
  });
  app.post("/emulator/reset", (c) => {
    controls.reset();
    return c.body(null, 204);
  });
}
