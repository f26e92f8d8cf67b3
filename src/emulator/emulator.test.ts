// The operations and their refusals, without a socket. Faults are in faults.test.ts, records in
// control-routes.test.ts.
import { beforeEach, describe, expect, test } from "vitest";
import { createEmulator, type Emulator } from "./emulator.ts";

let emulator: Emulator;
beforeEach(() => {
  emulator = createEmulator({
    tokens: { alpha: [42, 43], beta: [7] },
    agents: { 42: ["helper"] },
    chats: [
      { chatId: "c1", workspaceId: 42 },
      { chatId: "elsewhere", workspaceId: 43 },
    ],
  });
});

// Named once as unknown: vitest types its matchers as any.
const ANY_STRING: unknown = expect.any(String);
const ANY_OBJECT: unknown = expect.any(Object);
const ANY_ARRAY: unknown = expect.any(Array);
const ANY_DATE: unknown = expect.stringMatching(/^\d{4}-.*Z$/);

const JSON_TYPE = { "content-type": "application/json" };
const AUTH = { authorization: "Bearer alpha" };

function post(path: string, body: unknown, headers: Record<string, string> = {}) {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  const all = { ...AUTH, ...JSON_TYPE, ...headers };
  return emulator.app.request(path, { method: "POST", headers: all, body: text });
}
function get(path: string, headers: Record<string, string> = AUTH) {
  return emulator.app.request(path, { headers });
}
const send = (content: string, chatId = "c1", workspaceId = 42) =>
  post(`/api/chats/${chatId}/completions`, { workspaceId, content });

async function chat(chatId = "c1"): Promise<Record<string, unknown>> {
  const response = await get(`/api/chats/${chatId}?workspaceId=42`);
  expect(response.status).toBe(200);
  return (await response.json()) as Record<string, unknown>;
}

describe("create chat completion", () => {
  test("answers 201 with only the new assistant messages, and keeps both in the transcript", async () => {
    const response = await send("Hi");
    expect(response.status).toBe(201);
    expect(await response.json()).toEqual({
      messages: [{ role: "assistant", content: "You said: Hi" }],
    });
    expect((await chat())["messages"]).toEqual([
      { role: "assistant", content: "Hello, how can I help?" },
      { role: "user", content: "Hi" },
      { role: "assistant", content: "You said: Hi" },
    ]);
    expect(emulator.messages()).toEqual([{ chatId: "c1", content: "Hi", arrived: 1, taken: 1 }]);
  });

  test("tolerates members that the schema does not name, and an empty content", async () => {
    const body = { workspaceId: 42, content: "", extra: true };
    expect((await post("/api/chats/c1/completions", body)).status).toBe(201);
  });

  test.each([
    ["no token", { authorization: "" }],
    ["an unknown token", { authorization: "Bearer gamma" }],
    ["a token named like a member of every object", { authorization: "Bearer constructor" }],
    ["another scheme", { authorization: "Basic alpha" }],
  ])("refuses %s with 401 and takes nothing", async (_, headers) => {
    const response = await post(
      "/api/chats/c1/completions",
      { workspaceId: 42, content: "x" },
      headers,
    );
    expect(response.status).toBe(401);
    expect(await response.json()).toEqual({ error: ANY_STRING });
    expect(emulator.messages()).toEqual([]);
  });

  test.each([
    ["malformed JSON", "{"],
    ["no body", ""],
    ["an array", "[]"],
    ["no workspace", { content: "x" }],
    ["a workspace in quotes", { workspaceId: "42", content: "x" }],
    ["a fractional workspace", { workspaceId: 42.5, content: "x" }],
    ["no content", { workspaceId: 42 }],
    ["a content that is not a string", { workspaceId: 42, content: ["x"] }],
  ])("refuses %s with 400 and takes nothing", async (_, body) => {
    expect((await post("/api/chats/c1/completions", body)).status).toBe(400);
    expect(emulator.messages()).toEqual([]);
  });

  test.each(["text/plain", "application/jsonp", ""])("refuses type %j with 415", async (type) => {
    const response = await post(
      "/api/chats/c1/completions",
      { workspaceId: 42, content: "x" },
      { "content-type": type },
    );
    expect(response.status).toBe(415);
    expect(emulator.messages()).toEqual([]);
  });

  test("accepts a charset and any case in the type", async () => {
    const type = { "content-type": "Application/JSON; charset=utf-8" };
    const body = { workspaceId: 42, content: "x" };
    expect((await post("/api/chats/c1/completions", body, type)).status).toBe(201);
  });

  test.each([
    ["a workspace beyond the token", 403, "c1", 7],
    ["an unknown chat", 404, "absent", 42],
    ["a chat of another workspace", 404, "elsewhere", 42],
  ])("refuses %s with %i: it arrived, it was not taken", async (_, status, chatId, workspaceId) => {
    expect((await send("x", chatId, workspaceId)).status).toBe(status);
    expect(emulator.messages()).toEqual([{ chatId, content: "x", arrived: 1, taken: 0 }]);
  });

  test("refuses an ended chat with 409 and leaves its transcript alone", async () => {
    await post("/api/chats/c1/end", { workspaceId: 42 });
    expect((await send("late")).status).toBe(409);
    expect((await chat())["messages"]).toHaveLength(1);
    expect(emulator.messages()).toMatchObject([{ arrived: 1, taken: 0 }]);
  });
});

const create = (body: object) =>
  post("/api/chats", { workspaceId: 42, agent_id: "helper", ...body });

describe("create chat", () => {
  test("answers 201 with a new chat that greets and can be used", async () => {
    const response = await create({
      metadata: { a: 1 },
      uponai_dynamic_variables: { name: "Ann" },
    });
    expect(response.status).toBe(201);
    const made = (await response.json()) as { chatId: string };
    expect(made).toMatchObject({
      agentId: "helper",
      status: "ongoing",
      metadata: { a: 1 },
      uponai_dynamic_variables: { name: "Ann" },
      messages: [{ role: "assistant", content: "Hello, how can I help?" }],
    });
    expect((await send("x", made.chatId)).status).toBe(201);
    const other = (await (await create({})).json()) as { chatId: string };
    expect(other.chatId).not.toBe(made.chatId);
  });

  test.each([
    ["unknown agent", 404, { agent_id: "absent" }],
    ["agent of an unlisted workspace", 404, { workspaceId: 43 }],
    ["workspace beyond the token", 403, { workspaceId: 7 }],
    ["metadata that is no object", 400, { metadata: [] }],
    ["agent that is no string", 400, { agent_id: 1 }],
  ])("refuses an %s with %i and creates nothing", async (_, status, body) => {
    expect((await create(body)).status).toBe(status);
    const next = (await (await create({})).json()) as { chatId: string };
    expect(next.chatId).toBe("chat_000000000001");
  });

  test("accepts any agent when none are listed", async () => {
    emulator = createEmulator({ tokens: { alpha: [42] } });
    expect((await create({ agent_id: "any-agent" })).status).toBe(201);
  });
});

describe("get chat", () => {
  test("answers every member that the API documents", async () => {
    await send("Hi");
    expect(await chat()).toEqual({
      chatId: "c1",
      agentId: "agent",
      version: 1,
      status: "ongoing",
      type: "web_chat",
      metadata: {},
      customAttributes: ANY_OBJECT,
      startedAt: ANY_DATE,
      endedAt: null,
      transcript: "Agent: Hello, how can I help?\nUser: Hi\nAgent: You said: Hi\n",
      messages: ANY_ARRAY,
      chatCost: ANY_OBJECT,
      chatAnalysis: ANY_OBJECT,
      collectedDynamicVariables: ANY_OBJECT,
      uponai_dynamic_variables: {},
      overrideDynamicVariables: ANY_OBJECT,
    });
  });

  test.each([
    ["no workspace", 400, "/api/chats/c1"],
    ["a workspace that is no integer", 400, "/api/chats/c1?workspaceId=4e1"],
    ["a workspace beyond the token", 403, "/api/chats/c1?workspaceId=7"],
    ["an unknown chat", 404, "/api/chats/absent?workspaceId=42"],
    ["a chat of another workspace", 404, "/api/chats/elsewhere?workspaceId=42"],
  ])("refuses %s with %i", async (_, status, path) => {
    const response = await get(path);
    expect(response.status).toBe(status);
    expect(await response.json()).toEqual({ error: ANY_STRING });
  });

  test("refuses an unknown token with 401", async () => {
    expect((await get("/api/chats/c1?workspaceId=42", {})).status).toBe(401);
  });
});

describe("end chat", () => {
  test("answers 204 once, then 409", async () => {
    const first = await post("/api/chats/c1/end", { workspaceId: 42 });
    expect(first.status).toBe(204);
    expect(await first.text()).toBe("");
    expect(await chat()).toMatchObject({ status: "ended", endedAt: ANY_STRING });
    expect((await post("/api/chats/c1/end", { workspaceId: 42 })).status).toBe(409);
  });

  test.each([
    ["a chat of another workspace", 404, "elsewhere", { workspaceId: 42 }],
    ["a workspace beyond the token", 403, "c1", { workspaceId: 7 }],
    ["no workspace", 400, "c1", {}],
  ])("refuses %s with %i and ends nothing", async (_, status, chatId, body) => {
    expect((await post(`/api/chats/${chatId}/end`, body)).status).toBe(status);
    expect((await chat())["status"]).toBe("ongoing");
  });
});

test("list workspaces answers those of the token, and 401 without one", async () => {
  const response = await get("/api/workspaces");
  expect(response.status).toBe(200);
  expect(await response.json()).toEqual({ workspaces: [{ id: 42 }, { id: 43 }] });
  expect((await get("/api/workspaces", {})).status).toBe(401);
});

test.each(["/", "/api/chats", "/api/agents", "/api/chats/c1/completions"])(
  "GET %s is no operation: 404",
  async (path) => {
    expect((await get(path)).status).toBe(404);
  },
);
