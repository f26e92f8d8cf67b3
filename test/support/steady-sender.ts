/** Keeps messages flowing through a service while a test breaks something behind it. */
import { expect } from "vitest";

import type { RunningEmulator } from "../../src/emulator/listen.ts";
import { readCode, sendMessage } from "./bff-fixture.ts";

export interface SendOutcome {
  readonly content: string;
  readonly status: number;
  /** Of a problem answer. */
  readonly code: unknown;
  readonly ms: number;
  /** When it was answered, by `performance.now()`. */
  readonly atMs: number;
}

/** What was told to whom: every answer there was, once. */
export function answersOf(outcomes: readonly SendOutcome[]): unknown[] {
  return [...new Set(outcomes.map(({ status, code }) => code ?? status))];
}

export interface SteadySender {
  readonly outcomes: readonly SendOutcome[];
  /** Stops sending, and resolves once all is answered. */
  stop(): Promise<readonly SendOutcome[]>;
}

const PARALLEL = 8;
/** Pause of each sender, in milliseconds: traffic, not a flood. */
const PAUSE_MS = 20;

/** Every message has its own chat, so that no lock of a lost one is in another's way. */
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
 * Sends a message with a key, again and again as a careful client would, until it is served.
 *
 * @returns every answer on the way
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

/** How long a fail-over may take: two or three seconds, and the rest is a busy machine. */
const FAIL_OVER_MS = 20_000;

/** Resolves once every message of a whole round is served, so that one lucky one does not count. */
export async function servedFrom(sender: SteadySender): Promise<void> {
  const isServed = () => {
    const latest = sender.outcomes.slice(-2 * PARALLEL);
    return latest.length > PARALLEL && latest.every(({ status }) => status === 201);
  };
  await expect.poll(isServed, { timeout: FAIL_OVER_MS }).toBe(true);
}

/** Resolves once messages have been refused, and are served again. */
export async function refusedThenServed(sender: SteadySender): Promise<void> {
  const isRefused = () => sender.outcomes.some(({ status }) => status === 503);
  await expect.poll(isRefused, { timeout: FAIL_OVER_MS }).toBe(true);
  await servedFrom(sender);
}

/** Every message that was told to be served was written once, and no other was written. */
export function expectOnceEach(emulator: RunningEmulator, outcomes: readonly SendOutcome[]): void {
  const served = outcomes.filter(({ status }) => status === 201).map(({ content }) => content);
  const written = emulator.messages();
  expect(written.map(({ content }) => content).toSorted()).toEqual(served.toSorted());
  expect(written.filter(({ arrived }) => arrived !== 1)).toEqual([]);
}
