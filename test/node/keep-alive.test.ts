/** An upstream that closes idle connections at any time: senders get their answers all the same. */
import { setTimeout } from "node:timers/promises";

import { expect, test } from "vitest";

import { startEmulator } from "../../src/emulator/listen.ts";
import { sendMessage, startTestBff, UPSTREAM_TOKEN } from "../support/bff-fixture.ts";

/** Longer than the service keeps an idle connection, and shorter than common servers keep one. */
const IDLE_MS = 1_500;
const ROUNDS = 8;
const SENDERS = 50;
/** Span over which messages are sent before the connections close, so that some meet the close. */
const SPREAD_MS = 40;

test("connections that UponAI closes just as they are needed cost no message, and double none", async () => {
  const chats = Array.from({ length: SENDERS }, (_, index) => ({
    chatId: `kept-${index}`,
    workspaceId: 42,
  }));
  const emulator = await startEmulator({
    tokens: { [UPSTREAM_TOKEN]: [42] },
    chats,
    idleMs: IDLE_MS,
  });
  const bff = await startTestBff(emulator.url, {
    LIMIT_SESSION: "off",
    LIMIT_IP: "off",
    LIMIT_WORKSPACE: "off",
    RECOVERY_WINDOW: "100ms",
  });
  try {
    const send = async (round: number, index: number) => {
      // Real time is needed here: each side measures the idle time by its own clock.
      if (round > 0) await setTimeout(IDLE_MS - (SPREAD_MS * index) / SENDERS);
      const chatId = `kept-${index}`;
      return sendMessage(bff.url, `${round} in ${chatId}`, { chatId });
    };
    for (let round = 0; round < ROUNDS; round += 1) {
      const answers = await Promise.all(chats.map((_chat, index) => send(round, index)));
      expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([201]));
      // No recovery is accepted here: an answer found in the transcript would hide a lost message.
      expect(answers.filter(({ headers }) => headers.has("message-recovered"))).toEqual([]);
    }
    const messages = emulator.messages();
    expect(messages).toHaveLength(ROUNDS * SENDERS);
    expect(messages.filter(({ arrived, taken }) => arrived !== 1 || taken !== 1)).toEqual([]);
  } finally {
    await bff.stop();
    await emulator.close();
  }
});
