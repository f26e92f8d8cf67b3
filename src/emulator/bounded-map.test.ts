import { expect, test } from "vitest";
import { BoundedMap } from "./bounded-map.ts";
import { createEmulator } from "./emulator.ts";

const MEBI = 1024 * 1024;

test("forgets the oldest beyond 10,000 entries, and nothing before", () => {
  const map = new BoundedMap<number, number>();
  for (let i = 0; i < 10_000; i += 1) map.add(i, i, 1);
  expect(map.get(0)).toBe(0);
  map.add(10_000, 10_000, 1);
  expect(map.get(0)).toBeUndefined();
  expect(map.values()).toHaveLength(10_000);
  expect(map.values()[0]).toBe(1);
});

test("forgets the oldest beyond 32 Mi characters, but never the newest", () => {
  const map = new BoundedMap<string, string>();
  map.add("a", "a", 20 * MEBI);
  map.add("b", "b", 12 * MEBI);
  expect(map.values()).toEqual(["a", "b"]);
  map.add("c", "c", 1);
  expect(map.values()).toEqual(["b", "c"]);
  map.add("d", "d", 40 * MEBI);
  expect(map.values()).toEqual(["d"]);
  map.clear();
  map.add("e", "e", 32 * MEBI);
  map.add("f", "f", 0);
  expect(map.values()).toEqual(["e", "f"]);
});

test("a load test leaves the last 10,000 requests, messages and transcript entries", async () => {
  const emulator = createEmulator({ tokens: { t: [1] }, chats: [{ chatId: "c", workspaceId: 1 }] });
  const headers = { authorization: "Bearer t", "content-type": "application/json" };
  for (let i = 0; i < 10_100; i += 1) {
    const body = JSON.stringify({ workspaceId: 1, content: `m${i}` });
    await emulator.app.request("/api/chats/c/completions", { method: "POST", headers, body });
  }
  expect(emulator.requests()).toHaveLength(10_000);
  expect(emulator.messages()).toHaveLength(10_000);
  expect(emulator.messages()[0]).toEqual({ chatId: "c", content: "m100", arrived: 1, taken: 1 });
  const response = await emulator.app.request("/api/chats/c?workspaceId=1", { headers });
  const { messages } = (await response.json()) as { messages: unknown[] };
  expect(messages).toHaveLength(10_000);
  expect(messages.at(-1)).toEqual({ role: "assistant", content: "You said: m10099" });
});
