/** Two hundred requests that wait for fifty messages, for many rounds: memory stays flat. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

import { afterAll, beforeAll, expect, test, vi } from "vitest";

import { createTestApp } from "../support/app-fixture.ts";
import { createScriptedChats } from "../support/scripted-chats.ts";
import { mintToken } from "../support/session-tokens.ts";

const MESSAGES = 50;
const WAITS_EACH = 4;
/** Rounds of waits until the memory is measured first, and rounds after that. */
const WARM_UP = 20;
const ROUNDS = 40;
/** Growth that is noise, in bytes. An ended wait that is kept takes some 500: 4 MB in all. */
const NOISE_BYTES = 1_500_000;

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

beforeAll(() => void vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] }));
afterAll(() => void vi.useRealTimers());

test("waits that end by time leave nothing with the message, and all get its answer", async () => {
  const upstream = createScriptedChats();
  const held = Promise.withResolvers<undefined>();
  upstream.always("complete", async (usual) => {
    await held.promise;
    return usual();
  });
  const app = await createTestApp({
    environment: { LIMIT_SESSION: "off", LIMIT_WORKSPACE: "off", LIMIT_IP: "off" },
    upstream: upstream.answer,
    elapsed: (ms) => void vi.advanceTimersByTime(ms),
  });
  const token = await mintToken({ exp: 4_000_000_000 });
  const chatIds = Array.from({ length: MESSAGES }, (_, index) => `chat-${index}`);
  for (const chatId of chatIds) upstream.add(chatId);
  const wait = (chatId: string) =>
    app.send({
      chatId,
      headers: {
        Authorization: `Bearer ${token}`,
        "Idempotency-Key": "key",
        Prefer: "respond-async, wait=1",
      },
    });
  const begin = async () => {
    const all = chatIds.flatMap((chatId) => Array.from({ length: WAITS_EACH }, () => wait(chatId)));
    await expect.poll(() => app.waiting(), { interval: 1 }).toBe(MESSAGES * WAITS_EACH);
    return Promise.all(all);
  };
  const play = async (rounds: number): Promise<number> => {
    for (let round = 0; round < rounds; round += 1) {
      const waiting = begin();
      await expect.poll(() => app.waiting(), { interval: 1 }).toBe(MESSAGES * WAITS_EACH);
      await app.elapse(1_000);
      for (const answer of await waiting) {
        expect(answer.status).toBe(202);
        await answer.arrayBuffer();
      }
      app.lines.length = 0;
    }
    collect();
    return process.memoryUsage().heapUsed;
  };
  const before = await play(WARM_UP);
  const after = await play(ROUNDS);
  expect(after - before).toBeLessThan(NOISE_BYTES);

  const last = begin();
  await expect.poll(() => app.waiting(), { interval: 1 }).toBe(MESSAGES * WAITS_EACH);
  held.resolve(undefined);
  for (const answer of await last) expect(answer.status).toBe(201);
  expect(app.waiting()).toBe(0);
  expect(app.gate.inFlight).toBe(0);
  expect(upstream.count("complete")).toBe(MESSAGES);
});
