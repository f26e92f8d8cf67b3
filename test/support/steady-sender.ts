/** Keeps messages flowing through a service while a test breaks something behind it. */
import { expect } from "vitest";

import type { RunningEmulator } from "../../src/emulator/listen.ts";
import { readCode, sendMessage } from "./bff-fixture.ts";

export interface SendOutcome {
  readonly content: string;
  readonly status: number;
  /** Code of a problem answer. */
  readonly code: unknown;
  readonly ms: number;
  /** When the answer arrived, by `performance.now()`. */
  readonly atMs: number;
}

/** All answers so far. */
export function answersOf(outcomes: readonly SendOutcome[]): unknown[] {
  return [...new Set(outcomes.map(({ status, code }) => code ?? status))];
}

export interface SteadySender {
  readonly outcomes: readonly SendOutcome[];
  /** Stops sending. Resolves when all messages are answered. */
  stop(): Promise<readonly SendOutcome[]>;
}

const PARALLEL = 8;
/** Pause of each sender between two messages, in milliseconds. */
const PAUSE_MS = 20;

/** Each message has its own chat, so that the lock of a lost message blocks no other one. */
export function sendSteadily(emulator: RunningEmulator, urls: readonly string[]): SteadySender {
  const outcomes: SendOutcome[] = [];
  const state = { stopped: false };
  let count = 0;
  const keepSending = async (url: string) => {
    while (!state.stopped) {
      count += 1;
      const content = `steady-${count}`;
      emulator.addChat({ chatId: content, workspaceId: 42 });
      const startedMs = performance.now();
      const response = await sendMessage(url, content, { chatId: content });
      const { status } = response;
      const code = status === 201 ? undefined : await readCode(response);
      const atMs = performance.now();
      outcomes.push({ content, status, code, ms: atMs - startedMs, atMs });
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  };
  const senders = Array.from({ length: PARALLEL }, (_, index) =>
    keepSending(urls[index % urls.length] ?? ""),
  );
  return {
    outcomes,
    stop: async () => {
      state.stopped = true;
      await Promise.all(senders);
      return outcomes;
    },
  };
}

/**
 * Sends a message with a key and repeats it, as a careful client does, until it is answered 201.
 *
 * @returns all answers
 */
export async function sendUntilServed(url: string, chatId: string): Promise<SendOutcome[]> {
  const outcomes: SendOutcome[] = [];
  const headers = { "Idempotency-Key": chatId };
  for (;;) {
    const startedMs = performance.now();
    const response = await sendMessage(url, chatId, { chatId, headers });
    const { status } = response;
    const code = status === 201 ? undefined : await readCode(response);
    const atMs = performance.now();
    outcomes.push({ content: chatId, status, code, ms: atMs - startedMs, atMs });
    if (status === 201) return outcomes;
    await new Promise((resolve) => setTimeout(resolve, 10 * PAUSE_MS));
  }
}

/** Longest fail-over, in milliseconds: two or three seconds, and a tolerance for a busy machine. */
const FAIL_OVER_MS = 20_000;

/** Resolves when all messages of one round are served, so that a single success does not count. */
export async function servedFrom(sender: SteadySender): Promise<void> {
  const isServed = () => {
    const latest = sender.outcomes.slice(-2 * PARALLEL);
    return latest.length > PARALLEL && latest.every(({ status }) => status === 201);
  };
  await expect.poll(isServed, { timeout: FAIL_OVER_MS }).toBe(true);
}

/** Resolves when messages have been refused and are then served again. */
export async function refusedThenServed(sender: SteadySender): Promise<void> {
  const isRefused = () => sender.outcomes.some(({ status }) => status === 503);
  await expect.poll(isRefused, { timeout: FAIL_OVER_MS }).toBe(true);
  await servedFrom(sender);
}

/** Checks that each message answered as served was sent once, and no other message was sent. */
export function expectOnceEach(emulator: RunningEmulator, outcomes: readonly SendOutcome[]): void {
  const served = outcomes.filter(({ status }) => status === 201).map(({ content }) => content);
  const written = emulator.messages();
  expect(written.map(({ content }) => content).toSorted()).toEqual(served.toSorted());
  expect(written.filter(({ arrived }) => arrived !== 1)).toEqual([]);
}
