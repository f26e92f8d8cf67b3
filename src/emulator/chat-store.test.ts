import { expect, test } from "vitest";
import { ChatStore } from "./chat-store.ts";

test("a new id never takes the place of a chat that exists", () => {
  const store = new ChatStore([{ chatId: "chat_000000000001", workspaceId: 1 }]);
  store.create({ workspaceId: 2 });
  expect(store.find("chat_000000000001", 1).workspaceId).toBe(1);
  expect(store.find("chat_000000000002", 2).workspaceId).toBe(2);
});

test("beyond 100,000 created chats the oldest of them goes, and no initial one", () => {
  const store = new ChatStore([{ chatId: "first", workspaceId: 1 }]);
  for (let i = 0; i < 100_001; i += 1) store.create({ workspaceId: 1 });
  expect(() => store.find("chat_000000000001", 1)).toThrow("no such chat");
  expect(store.find("chat_000000000002", 1).workspaceId).toBe(1);
  expect(store.find("first", 1).workspaceId).toBe(1);
});

test("a reset begins the ids anew, so that a run can be repeated", () => {
  const store = new ChatStore([]);
  const first = store.create({ workspaceId: 1 }).toJSON()["chatId"];
  store.reset();
  expect(store.create({ workspaceId: 1 }).toJSON()["chatId"]).toBe(first);
});
