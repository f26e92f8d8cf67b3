// The records of the emulator and its own routes.
import { beforeEach, describe, expect, test } from "vitest";
import { createEmulator, type Emulator } from "./emulator.ts";

let emulator: Emulator;
beforeEach(() => {
  emulator = createEmulator({
    tokens: { alpha: [42, 43] },
    chats: [
      { chatId: "c1", workspaceId: 42 },
      { chatId: "elsewhere", workspaceId: 43 },
    ],
  });
});

const AUTH = { authorization: "Bearer alpha" };

const post = async (path: string, body: unknown, auth: Record<string, string> = AUTH) =>
  emulator.app.request(path, {
    method: "POST",
    headers: { ...auth, "content-type": "application/json" },
    body: JSON.stringify(body),
  });
const get = async (path: string, headers: Record<string, string> = AUTH) =>
  emulator.app.request(path, { headers });
const send = async (content: string, chatId = "c1", workspaceId = 42) =>
  post(`/api/chats/${chatId}/completions`, { workspaceId, content });
const chat = async (): Promise<unknown> => (await get("/api/chats/c1?workspaceId=42")).json();

describe("the record", () => {
  test("keeps method, raw path, query, headers and body, in order", async () => {
    await send("Hi");
    await get("/api/chats/a%2Fb?workspaceId=42", { ...AUTH, "X-Extra": "1" });
    expect(emulator.requests()).toEqual([
      {
        method: "POST",
        path: "/api/chats/c1/completions",
        query: "",
        headers: { ...AUTH, "content-type": "application/json" },
        body: '{"workspaceId":42,"content":"Hi"}',
      },
      {
        method: "GET",
        path: "/api/chats/a%2Fb",
        query: "?workspaceId=42",
        headers: { ...AUTH, "x-extra": "1" },
        body: "",
      },
    ]);
  });

  test("keeps refused requests too, but not those to the emulator's own routes", async () => {
    await get("/nowhere", {});
    await get("/emulator/messages", {});
    expect(emulator.requests().map(({ path }) => path)).toEqual(["/nowhere"]);
  });

  test("counts a message that is sent twice as one with two arrivals", async () => {
    await send("again");
    await send("again");
    await send("again", "elsewhere", 43);
    expect(emulator.messages({ chatId: "c1" })).toEqual([
      { chatId: "c1", content: "again", arrived: 2, taken: 2 },
    ]);
    expect(emulator.messages()).toHaveLength(2);
  });
});

describe("the control routes, which need no token", () => {
  test("add a chat, tell the messages, and reset", async () => {
    const added = await post("/emulator/chats", { chatId: "new", workspaceId: 42 }, {});
    expect(added.status).toBe(201);
    expect((await send("Hi", "new")).status).toBe(201);
    expect(await (await get("/emulator/messages?chatId=new", {})).json()).toEqual({
      messages: [{ chatId: "new", content: "Hi", arrived: 1, taken: 1 }],
    });
    await post("/api/chats/c1/end", { workspaceId: 42 });

    const reset = await emulator.app.request("/emulator/reset", { method: "POST" });
    expect(reset.status).toBe(204);
    expect(emulator.messages()).toEqual([]);
    expect(emulator.requests()).toEqual([]);
    expect((await send("Hi", "new")).status).toBe(404);
    expect(await chat()).toMatchObject({ status: "ongoing", endedAt: null });
  });

  test("refuse a malformed chat with 400", async () => {
    expect((await post("/emulator/chats", { chatId: "new" })).status).toBe(400);
    expect((await post("/emulator/chats", { chatId: "", workspaceId: 42 })).status).toBe(400);
  });

  test("give a chat that is added again a new beginning", async () => {
    await post("/api/chats/c1/end", { workspaceId: 42 });
    emulator.addChat({ chatId: "c1", workspaceId: 42, agentId: "other" });
    expect(await chat()).toMatchObject({ status: "ongoing", agentId: "other" });
  });
});
